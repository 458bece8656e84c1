"""Pictures of a choice: SVG that parses, in two forms that differ in colour alone."""

from __future__ import annotations

import base64
from xml.etree import ElementTree

from umsrep.tasks.choose import Choice
from umsrep.tasks.choose.plots import cost_picture, scores_picture, truth_picture
from umsrep.tasks.choose.truth import Agreement, Study


def svg(address: str) -> str:
    kind, _, data = address.partition(",")
    assert kind == "data:image/svg+xml;base64"
    return base64.b64decode(data).decode()


def test_pictures_are_whole(choice: Choice) -> None:
    study = Study("classification", "d", "t", "auroc", "in", 9, {"log_me": Agreement(0.3, (-0.1, 0.6)), "gbc": Agreement(-0.2)})
    truth = truth_picture([study], "classification")
    assert truth is not None
    assert truth_picture([study], "denoising") is None
    for picture in (scores_picture(choice.tasks[0]), cost_picture(choice), truth):
        light, dark = svg(picture["light"]), svg(picture["dark"])
        assert ElementTree.fromstring(light).tag.endswith("svg")
        assert "#1b2733" in light
        assert "#1b2733" not in dark
        assert "#e6edf3" in dark
