"""The folder of an adapted model: the target's statistics, all else the model's, and a card that says so."""

from __future__ import annotations

from pathlib import Path

from tests.tasks.runs import changed, stored
from umsrep.tasks.adapt.saving import save_adapted
from umsrep.tasks.adapt.target import adapted_copy, target_images
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.trainer import Report
from umsrep.zoo.card import metadata_of
from umsrep.zoo.card_lint import lint_card


def test_folder_opens_as_the_adapted_model_and_the_card_says_what_it_is(trained: Report, tiny_data: Path, tmp_path: Path) -> None:
    model = MultiTaskModel.from_pretrained(trained.model)
    images = target_images(model, tiny_data, split="test")
    out = tmp_path / "adapted"
    norms = save_adapted(model, images, out, origin=str(trained.model))
    differ = changed(stored(trained.model), stored(out))
    assert differ
    assert all(name.endswith(("running_mean", "running_var")) for name in differ)
    assert norms == len({name.rpartition(".")[0] for name in differ})
    expected = adapted_copy(model, images).state_dict()
    opened = MultiTaskModel.from_pretrained(out)
    assert all(value.equal(expected[name]) for name, value in opened.state_dict().items())
    assert opened.guard is None
    card = (out / "README.md").read_text(encoding="utf-8")
    assert f"replaced by those of {images.what}" in card
    assert "can make a model worse" in card
    assert str(trained.model) not in card
    assert str(tiny_data) not in card
    from umsrep.zoo import hub

    config = hub.read_config(out)
    assert not [p for p in lint_card(card, config=config, results=None, location=out.name) if "license" not in p.message]
    assert metadata_of(card)["license"] == metadata_of((Path(trained.model) / "README.md").read_text(encoding="utf-8"))["license"]
