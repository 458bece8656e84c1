"""The guard's numbers, its file, and how it goes with a model folder."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.tasks.runs import ARCH
from umsrep.errors import InputError
from umsrep.heads import ClassificationHead, SegmentationHead
from umsrep.tasks.guard import Guard, attach, energy, fingerprint, needed, threshold_of
from umsrep.tasks.guarding import make_guard
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.reference import Reference, load_reference
from umsrep.zoo import Encoder, InputContract, hub
from umsrep.zoo.card_lint import lint_card
from umsrep.zoo.input_contract import LoadedImage


def usual(count: int, seed: int) -> list[np.ndarray]:
    """Soft discs on dark noise."""
    draws, (rows, columns) = np.random.default_rng(seed), np.mgrid[:32, :32]
    pictures = []
    for _ in range(count):
        y, x, radius = draws.uniform(12, 20, 3)
        disc = 1 / (1 + np.exp(np.hypot(rows - y, columns - x) - radius / 2))
        pictures.append(np.clip(60 + 120 * disc + draws.normal(0, 6, (32, 32)), 0, 255).astype(np.uint8))
    return pictures


def strange() -> list[np.ndarray]:
    """Checkerboard, black, white, strong noise."""
    board = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((4, 4))).astype(np.uint8) * 255
    noise = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    return [board, np.zeros((32, 32), np.uint8), np.full((32, 32), 255, np.uint8), noise]


def opened(model: MultiTaskModel, pictures: list[np.ndarray]) -> list[LoadedImage]:
    return [model.encoder.contract.open(p) for p in pictures]


def untrained() -> MultiTaskModel:
    torch.manual_seed(0)
    encoder = Encoder.create(ARCH, contract=InputContract(size=32))
    return MultiTaskModel(encoder, {"disc": SegmentationHead(["back", "disc"]), "size": ClassificationHead(["small", "large"])}).eval()


@pytest.fixture(scope="module")
def guarded() -> MultiTaskModel:
    model = untrained()
    model.guard = make_guard(model, opened(model, usual(48, 1)), opened(model, usual(40, 2)))
    return model


@pytest.fixture
def folder(guarded: MultiTaskModel, tmp_path: Path) -> Path:
    return guarded.save_pretrained(tmp_path / "model")


def test_threshold_is_the_rank_of_split_conformal() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))  # 1 to 99
    assert threshold_of(scores, 0.05) == 95  # ceil(100 * .95)
    assert threshold_of(scores, 0.1) == 90
    assert threshold_of(scores[:19], 0.05) == scores[:19].max()
    assert [needed(a) for a in (0.05, 0.1, 0.01, 0.5)] == [19, 9, 99, 1]
    with pytest.raises(InputError, match="needs 19 held-out pictures or more, not 18"):
        threshold_of(scores[:18], 0.05)
    for wrong in (0.0, 1.0, math.nan):
        with pytest.raises(InputError, match="false_alarms"):
            threshold_of(scores, wrong)


def test_false_alarms_are_at_most_the_rate_on_average() -> None:
    draws = np.random.default_rng(0)
    rates = [(draws.normal(size=500) > threshold_of(draws.normal(size=40), 0.1)).mean() for _ in range(400)]
    assert 0.085 < np.mean(rates) <= 0.1 + 0.005  # exact expectation: 1 - 37 / 41 = .0976


def test_energy_is_that_of_the_papers() -> None:
    logits = torch.tensor([[0.0, 0.0], [10.0, -10.0]])
    np.testing.assert_allclose(energy(logits, multi_label=False), [-math.log(2), -10], atol=1e-6)
    np.testing.assert_allclose(energy(logits, multi_label=True), [-2 * math.log(2), -10.0000908], atol=1e-5)


def test_distance_to_the_kth_neighbour_by_hand() -> None:
    eye = np.eye(2, dtype=np.float32)
    reference = Reference(np.zeros(2, np.float32), np.ones(2, np.float32), eye, 1.0, 1.0, "", "")
    bank = np.array([[-1, -1, 0], [1, 1, 0], [-1, 1, 0], [1, -1, 0]], dtype=np.float32)  # sd 1 along both
    guard = Guard(reference, bank, 2, 1.0, 0.05, 19, 0)
    np.testing.assert_allclose(guard.distances(np.array([[1.0, 1.0], [1.0, 4.0]], dtype=np.float32)), [2, math.hypot(2, 3)], rtol=1e-5)


def test_strange_pictures_score_above_usual_ones(guarded: MultiTaskModel) -> None:
    assert guarded.guard is not None
    results = guarded.predict([*usual(40, 3), *strange()])
    flags = [one["disc"].flagged for one in results]
    assert all(flags[40:])
    assert sum(map(bool, flags[:40])) <= 6  # expected 2 or fewer; 6 or more has a probability below 2 %
    for one in results:
        assert one["disc"].out_of_distribution == one["size"].out_of_distribution
        assert one["disc"].flagged == (one["disc"].out_of_distribution > guarded.guard.threshold)  # type: ignore[operator]


def test_the_file_gives_back_the_same_scores(guarded: MultiTaskModel, folder: Path) -> None:
    read = MultiTaskModel.from_pretrained(folder)
    assert read.guard is not None
    pictures = [*usual(3, 5), *strange()]
    own, again = ([one["size"].out_of_distribution for one in m.predict(pictures)] for m in (guarded, read))
    assert again == pytest.approx(own, rel=1e-5)
    assert (folder / hub.REFERENCE_FILE).stat().st_size < 200_000
    assert load_reference(folder).threshold == read.guard.reference.threshold  # `umsrep inspect` reads the same file
    assert all(check.ok for check in hub.verify(str(folder)))
    assert lint_card((folder / "README.md").read_text(), config=hub.read_config(folder)) == []
    with hub.staged(folder, "some/model", license="mit") as staged:
        assert {p.name for p in staged.iterdir()} >= {hub.REFERENCE_FILE, hub.CONFIG_FILE, "README.md"}


def test_saving_again_keeps_the_guard_of_the_same_encoder_only(folder: Path, tmp_path: Path) -> None:
    read = MultiTaskModel.from_pretrained(folder)
    assert MultiTaskModel.from_pretrained(read.save_pretrained(tmp_path / "again")).guard is not None
    with torch.no_grad():
        for parameter in read.encoder.parameters():
            parameter.add_(0.01)
    changed = read.save_pretrained(tmp_path / "again")
    assert not (changed / hub.REFERENCE_FILE).exists()  # nor is the old one left
    assert MultiTaskModel.from_pretrained(changed).guard is None
    assert all(check.ok for check in hub.verify(str(changed)))


def test_the_fingerprint_follows_training_and_contract_alone(guarded: MultiTaskModel) -> None:
    own = fingerprint(guarded.encoder)
    assert fingerprint(copy.deepcopy(guarded).encoder.to(memory_format=torch.channels_last)) == own
    norms = copy.deepcopy(guarded.encoder)
    norms.train()(torch.randn(2, 1, 32, 32))  # moves running statistics alone
    assert fingerprint(norms) != own
    size = copy.deepcopy(guarded.encoder)
    size.contract = size.contract.replace(size=64)
    assert fingerprint(size) != own


def test_a_changed_encoder_is_not_guarded(guarded: MultiTaskModel, caplog: pytest.LogCaptureFixture) -> None:
    model = copy.deepcopy(guarded)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(0.01)
    with caplog.at_level(logging.WARNING, "umsrep.guard"):
        (one,) = model.predict(strange()[:1])
    assert (one["disc"].out_of_distribution, one["disc"].flagged) == (None, None)
    assert "another encoder or contract" in caplog.text
    with pytest.raises(InputError, match="another encoder or contract"):
        model.predict(strange()[:1], guard="refuse")


def test_damaged_files_and_missing_ones(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = folder / hub.REFERENCE_FILE
    content = path.read_bytes()
    path.write_bytes(content[:-3])
    with pytest.raises(InputError, match="damaged"):
        MultiTaskModel.from_pretrained(folder)
    path.unlink()
    assert MultiTaskModel.from_pretrained(folder).guard is None
    assert "is not there" in caplog.text
    path.write_bytes(content)
    config = json.loads((folder / "config.json").read_text())
    del config["umsrep"]["sha256"][hub.REFERENCE_FILE]  # not listed: not read
    (folder / "config.json").write_text(json.dumps(config))
    assert MultiTaskModel.from_pretrained(folder).guard is None


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": math.inf},
        {"threshold": "1"},
        {"neighbours": 0},
        {"neighbours": 1000},
        {"score": "energy"},
        {"score": "other"},
        {"head": "size"},
        {"false_alarms": 1.5},
        {"extra": 1},
        {"calibrated": True},
    ],
)
def test_files_of_another_form(guarded: MultiTaskModel, tmp_path: Path, change: dict[str, object]) -> None:
    guard = guarded.guard
    assert guard is not None
    numbers = {f.name: getattr(guard, f.name) for f in dataclasses.fields(guard) if f.name not in ("reference", "bank")} | change
    path = tmp_path / "x.safetensors"
    tensors = guard.reference.tensors() | {"bank": torch.from_numpy(guard.bank)}
    save_file(tensors, path, metadata={"reference": guard.reference.numbers(), "guard": json.dumps(numbers)})
    with pytest.raises(InputError, match="damaged guard"):
        Guard.load(path)


def test_a_reference_alone_is_no_guard(guarded: MultiTaskModel, tmp_path: Path) -> None:
    assert guarded.guard is not None
    guarded.guard.reference.save(tmp_path / "x.safetensors")
    assert Guard.load(tmp_path / "x.safetensors") is None


def test_of_other_weights(folder: Path) -> None:
    other = untrained()
    with torch.no_grad():
        next(other.encoder.parameters()).add_(1)
    guard = Guard.load(folder / hub.REFERENCE_FILE)
    assert guard is not None
    attach(folder, guard)
    config = json.loads((folder / "config.json").read_text())
    hub_file = folder / hub.ENCODER_FILE
    save_file({k: v.contiguous() for k, v in other.encoder.model.state_dict().items()}, hub_file)
    config["umsrep"]["sha256"][hub.ENCODER_FILE] = hub.sha256(hub_file)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="made for other weights"):
        MultiTaskModel.from_pretrained(folder)
