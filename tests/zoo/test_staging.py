"""What goes up: the files of a folder, all checked, and the card as the repository will show it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conformance import perturb
from umsrep.errors import InputError
from umsrep.heads import ClassificationHead
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import Encoder, InputContract, hub
from umsrep.zoo.card import build_card, metadata_of
from umsrep.zoo.results import Results

FILES = ["config.json", "model.safetensors", "heads.safetensors", "README.md"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with a head; not to be changed."""
    model = MultiTaskModel(
        Encoder.create("test_efficientnet", contract=InputContract(channels=1, size=32)), {"finding": ClassificationHead(["no", "yes"])}
    )
    perturb(model)
    return model.save_pretrained(tmp_path_factory.mktemp("model") / "model")


def test_plan_names_what_goes_up_and_checks_it(folder: Path, tmp_path: Path) -> None:
    assert hub.plan(folder) == [(name, (folder / name).stat().st_size) for name in FILES]
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "notes.txt").write_text("mine", encoding="utf-8")
    assert [name for name, _ in hub.plan(copy)] == FILES
    (copy / "README.md").unlink()
    with pytest.raises(InputError, match=r"README\.md: no such file; a model is published with its card"):
        hub.plan(copy)
    content = bytearray((copy / "heads.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "heads.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"heads\.safetensors: damaged"):
        hub.push(copy, "org/model")


@pytest.mark.parametrize(
    "name", ["v 1", "v1..2", "v1~", "v^1", "a:b", "v1?", "v1*", "[v1", "v1.lock", "/v1", "v1/", "a//b", ".v1", "v1.", "-v1", "@", ""]
)
def test_names_that_git_refuses(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot name a tag in git"):
        hub.push(folder, "org/model", tag=name)
    with pytest.raises(InputError, match="cannot name a branch in git"):
        hub.push(folder, "org/model", revision=name)


def test_no_path_of_the_author_is_published(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    card = (
        (copy / "README.md")
        .read_text(encoding="utf-8")
        .replace('("model")', f'("{copy}")')
        .replace('"local-dir:model"', f'"local-dir:{copy}"')
    )
    (copy / "README.md").write_text(card.replace('"tu-local-dir:model"', f'"tu-local-dir:{copy}"'), encoding="utf-8")
    with hub.staged(copy, "org/model") as ready:  # those in snippets are replaced
        assert str(tmp_path) not in (ready / "README.md").read_text(encoding="utf-8")
    with (copy / "README.md").open("a", encoding="utf-8") as file:
        file.write("\numsrep finetune --config=/home/mia/secret/config.yaml\n")
    with pytest.raises(hub.BadCard, match=r"'/home/mia/secret/config\.yaml' is a place on one disk"):
        hub.push(copy, "org/model")


def test_the_licence_goes_onto_the_published_card_alone(folder: Path) -> None:
    before = (folder / "README.md").read_bytes()
    with hub.staged(folder, "org/model", license="cc-by-4.0") as ready:
        assert metadata_of((ready / "README.md").read_text(encoding="utf-8"))["license"] == "cc-by-4.0"
    assert (folder / "README.md").read_bytes() == before


def test_results_of_a_run_must_stand_on_its_card(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder, run / "model")
    results = Results(verdict="For radiographs of adults.", name="run")
    (run / "report.json").write_text("{}", encoding="utf-8")
    (run / "results.json").write_text(json.dumps(results.to_dict()), encoding="utf-8")
    with pytest.raises(hub.BadCard, match=r"the results say 'For radiographs of adults\.' under 'Verdict'"):
        hub.push(run / "model", "org/model")
    (run / "model" / "README.md").write_text(build_card("model", hub.read_config(run / "model"), results), encoding="utf-8")
    with hub.staged(run / "model", "org/model", license="mit"):
        pass
