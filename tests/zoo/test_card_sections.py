"""Tables and snippets of a card on their own; as parts of one they are tested in test_card.py."""

from __future__ import annotations

import pytest

from umsrep.zoo.card_sections import caption, is_repo, measurement_tables, shown, use_section
from umsrep.zoo.results import Measurement


def test_names_of_repositories() -> None:
    assert is_repo("org/my-model.v2")
    assert not any(map(is_repo, ("preset", "./runs/model", "/abs/model", "a/b/c", "~/model", "../model", "")))


@pytest.mark.parametrize(
    ("name", "value", "interval", "text"),
    [
        ("dice", 0.95349, None, "0.953"),
        ("psnr_gain", 10.8896, (10.7322, 11.0346), "10.89 (10.73 to 11.03)"),
        ("dice/lung", 1.0, None, "1.000"),
        ("own", 0.123456, None, "0.1235"),
        ("hd95", None, None, "undefined"),
    ],
)
def test_digits(name: str, value: float | None, interval: tuple[float, float] | None, text: str) -> None:
    assert shown(name, value, interval) == text


def test_a_table_for_each_head_and_data_set_fits_a_terminal() -> None:
    rows = [
        Measurement("results", "lungs", "dice", "guangzhou", 0.95, split="test", interval=(0.94, 0.96), images=1, patients=1),
        Measurement("results", "pneumonia", "auroc", "guangzhou", 0.97, split="test", images=624),
        Measurement("results", "lungs", "iou", "guangzhou", 0.9, split="test", images=1, patients=1),
    ]
    first, second = measurement_tables(rows).split("\n\n**")
    assert first.splitlines() == [
        "**lungs** on guangzhou, test: 1 image of 1 patient",
        "",
        "| metric | value (95 % interval) |",
        "| --- | --- |",
        "| Dice | 0.950 (0.940 to 0.960) |",
        "| IoU | 0.900 |",
    ]
    assert second.startswith("pneumonia** on guangzhou, test: 624 images\n")
    assert caption("lungs", "external", None) == "**lungs** on external"


def test_snippets_of_the_cbr_family_register_it_first() -> None:
    text = use_section({"architecture": "cbr_small", "contract": {"channels": 1}, "heads": {}}, "org/m", None)
    assert text.count("import umsrep.zoo  # registers the cbr family") == 2
    assert '"hf-hub:org/m"' in text
