"""Making a guard, measuring it, and what prediction does with it."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tasks.runs import ARCH, run_config
from tests.tasks.test_guard import opened, strange, untrained, usual
from umsrep.errors import InputError
from umsrep.heads import ClassificationHead, DenoisingHead
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.guard import fingerprint
from umsrep.tasks.guarding import guard_of_run, make_guard, rate, rate_of, spread_rows, usable_guard
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.outputs import predict_files
from umsrep.tasks.predict import Prediction
from umsrep.tasks.setup import build_model, build_sets
from umsrep.tasks.trainer import fit
from umsrep.zoo import Encoder, InputContract
from umsrep.zoo.results import load_results


@pytest.fixture(scope="module")
def model() -> MultiTaskModel:
    made = untrained()
    made.guard = make_guard(made, opened(made, usual(48, 1)), opened(made, usual(40, 2)))
    return made


def outputs(one: dict[str, Prediction]) -> dict[str, np.ndarray]:
    return {f"{n}.{f}": v for n, p in one.items() for f in ("image", "mask", "probabilities") if (v := getattr(p, f)) is not None}


@pytest.mark.parametrize("tasks", [None, ["disc"], ["size"]])
@pytest.mark.parametrize("flips", [False, True])
def test_looking_changes_no_result(model: MultiTaskModel, tasks: list[str] | None, flips: bool) -> None:
    pictures = [*usual(2, 4), *strange()]
    for with_, without in zip(
        model.predict(pictures, tasks, flips=flips), model.predict(pictures, tasks, flips=flips, guard="off"), strict=True
    ):
        a, b = outputs(with_), outputs(without)
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
        for name in with_:
            assert with_[name].flagged is not None
            assert without[name].flagged is None


def test_scores_do_not_depend_on_heads_tiles_flips_or_batches(model: MultiTaskModel) -> None:
    pictures = [np.tile(p, (4, 4)) for p in usual(3, 4)]
    expected = [one["disc"].out_of_distribution for one in model.predict(pictures)]
    choices: list[dict[str, Any]] = [{"tasks": ["size"]}, {"tile": 64}, {"flips": True}, {"batch_size": 1}, {"tasks": ["disc"], "tile": 64}]
    for options in choices:
        found = [next(iter(one.values())).out_of_distribution for one in model.predict(pictures, **options)]
        assert found == pytest.approx(expected, rel=1e-4)


def test_denoising_alone_is_guarded() -> None:
    torch.manual_seed(0)
    model = MultiTaskModel(Encoder.create(ARCH, contract=InputContract(size=32)), {"clean": DenoisingHead(width=8)}).train()
    model.guard = make_guard(model, opened(model, usual(32, 1)), opened(model, usual(20, 2)))
    assert model.training
    assert all(one["clean"].flagged for one in model.predict(strange()))


def test_energy_of_a_head() -> None:
    model = untrained()
    with pytest.raises(InputError, match="'sze' is no classification head"):
        make_guard(model, opened(model, usual(32, 1)), opened(model, usual(20, 2)), score="energy", head="sze")
    model.guard = make_guard(model, opened(model, usual(32, 1)), opened(model, usual(40, 2)), score="energy")
    assert model.guard.head == "size"
    head = model.heads["size"]
    assert isinstance(head, ClassificationHead)
    picture = usual(1, 9)[0]
    with torch.inference_mode():
        logits = model(model.encoder.contract.load(picture)[None])["size"]
    for tasks in (None, ["disc"], ["size"]):
        (one,) = model.predict([picture], tasks)
        assert set(one) == set(tasks or ("disc", "size"))
        assert next(iter(one.values())).out_of_distribution == pytest.approx(-float(torch.logsumexp(logits, 1)), abs=1e-5)


def test_what_cannot_make_a_guard(model: MultiTaskModel) -> None:
    train, held_out = opened(model, usual(16, 1)), opened(model, usual(19, 2))
    assert make_guard(model, train, held_out).calibrated == 19
    with pytest.raises(InputError, match="16 training pictures or more, not 15"):
        make_guard(model, train[:15], held_out)
    with pytest.raises(InputError, match="19 held-out pictures or more, not 18"):
        make_guard(model, train, held_out[:18])
    with pytest.raises(InputError, match="neighbours must be 1 to 16"):
        make_guard(model, train, held_out, neighbours=17)
    with pytest.raises(InputError, match="the head is for the score energy"):
        make_guard(model, train, held_out, head="size")
    unsized = copy.deepcopy(model)
    unsized.encoder.contract = unsized.encoder.contract.replace(size=None)
    with pytest.raises(InputError, match="no size"):
        make_guard(unsized, train, held_out)


def test_making_one_twice_gives_the_same_and_leaves_the_model(model: MultiTaskModel) -> None:
    before = fingerprint(model.encoder)
    one, two = (make_guard(model, opened(model, usual(32, 1)), opened(model, usual(20, 2))) for _ in range(2))
    assert one.threshold == two.threshold
    np.testing.assert_array_equal(one.bank, two.bank)
    assert fingerprint(model.encoder) == before
    assert all(p.requires_grad for p in model.parameters())


def test_modes(model: MultiTaskModel, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder) -> None:
    pictures = [usual(1, 1)[0], strange()[0]]  # the first is a training picture
    with caplog.at_level(logging.WARNING, "umsrep.guard"):
        results = model.predict(pictures)
    assert len(results) == 2
    assert caplog.text.count("unlike the training images") == 1
    assert "<ndarray> (number 1):" in caplog.text
    assert not recwarn.list  # nothing that `-W error` would turn into a lost prediction
    with pytest.raises(InputError, match=r"unlike the training images .* threshold"):
        model.predict(pictures, guard="refuse")
    assert len(model.predict(pictures[:1], guard="refuse")) == 1
    with pytest.raises(InputError, match="off, warn or refuse"):
        model.predict(pictures, guard="no")  # type: ignore[arg-type]
    bare = untrained()
    assert bare.predict(pictures)[1]["disc"].flagged is None
    with pytest.raises(InputError, match="the model has no guard; make one with `umsrep guard MODEL DATA`"):
        bare.predict(pictures, guard="refuse")


def test_files_say_so(model: MultiTaskModel, tmp_path: Path) -> None:
    for name, picture in (("usual", usual(1, 1)[0]), ("odd", strange()[0])):
        Image.fromarray(np.kron(picture, np.ones((8, 8), np.uint8))).save(tmp_path / f"{name}.png")
    files = [tmp_path / "usual.png", tmp_path / "odd.png"]
    first, second = predict_files(model, files, tmp_path / "out")
    assert model.guard is not None
    assert first["out_of_distribution"]["flagged"] is False
    assert second["out_of_distribution"]["flagged"] is True
    assert second["out_of_distribution"]["score"] > second["out_of_distribution"]["threshold"] == model.guard.threshold
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == [first, second]
    predict_files(model, files, tmp_path / "off", guard="off")
    drawn = [[np.asarray(Image.open(tmp_path / o / f"{n}.disc.overlay.png")) for n in ("usual", "odd")] for o in ("out", "off")]
    np.testing.assert_array_equal(drawn[0][0], drawn[1][0])
    assert drawn[0][1].shape == drawn[1][1].shape
    assert (drawn[0][1] != drawn[1][1]).any()
    with pytest.raises(InputError, match=r"odd\.png: unlike"):
        predict_files(model, files, tmp_path / "refused", guard="refuse")
    assert list((tmp_path / "refused").iterdir()) == []


def test_rates_have_exact_intervals(model: MultiTaskModel) -> None:
    assert model.guard is not None
    found = rate(model.guard, model, "odd", "other", opened(model, strange()))
    assert (found.images, found.flagged) == (4, 4)
    assert found.interval == pytest.approx((0.025 ** (1 / 4), 1))  # Clopper-Pearson with all flagged
    assert rate_of(0, 10, "x", "y").interval == pytest.approx((0, 1 - 0.025 ** (1 / 10)))
    with pytest.raises(InputError, match="no images"):
        rate(model.guard, model, "none", "other", [])


def test_one_picture_a_patient_where_that_is_enough() -> None:
    columns = {"file_name": [f"{i}.png" for i in range(12)], "patient_id": [str(i // 3) for i in range(12)]}
    manifest = Manifest(Path(), Path(), columns, list(range(12)))
    chosen = spread_rows(manifest, range(12), 100)
    assert sorted(r // 3 for r in chosen) == [0, 1, 2, 3]
    assert len(spread_rows(manifest, range(12), 100, least=5)) == 12
    assert len(spread_rows(manifest, range(12), 2)) == 2
    unknown = Manifest(Path(), Path(), {"file_name": columns["file_name"]}, list(range(12)))
    assert len(spread_rows(unknown, range(12), 100)) == 12


def many(folder: Path, counts: dict[str, int]) -> Path:
    """A data set of usual pictures."""
    (folder / "images").mkdir(parents=True)
    lines = ["file_name,label,split"]
    for seed, (split, count) in enumerate(counts.items()):
        for number, picture in enumerate(usual(count, seed)):
            name = f"images/{split}{number}.png"
            Image.fromarray(picture).save(folder / name)
            lines.append(f"{name},{'ab'[number % 2]},{split}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_run_makes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = many(tmp_path / "data", {"train": 24, "validation": 20, "test": 8})
    tasks = {"kind_of": {"kind": "classification", "classes": ["a", "b"]}}
    report = fit(run_config(data, tmp_path / "run", tasks=tasks, epochs=1, max_steps=1))
    model = MultiTaskModel.from_pretrained(report.model)
    assert model.guard is not None
    assert model.guard.calibrated == 20
    assert "the guard's threshold is the largest of 20 validation pictures" in capsys.readouterr().err.replace("\n", " ")
    assert all(one["kind_of"].flagged for one in model.predict(strange()))
    model.name_unit("12-bit")
    assert usable_guard(model, "refuse") is model.guard, "the depth of files changes nothing of what the guard looks at"
    model.encoder.contract = model.encoder.contract.replace(mean=0.3)
    model.encoder.contract = model.encoder.contract.replace(unit="auto")
    model.name_unit("16-bit")
    assert usable_guard(model, "warn") is None, "it was made for another contract"
    results = load_results(report.output / "results.json")
    assert results.guard is not None
    assert [(r.data, r.images) for r in results.guard.rates] == [("test rows of the run", 8)]
    card = (report.model / "README.md").read_text()
    assert "### Out-of-distribution guard\n`predict` flags" in card
    assert "reference.safetensors" in card


@pytest.mark.slow  # a run of its own to see that nothing is made
def test_a_run_makes_none_where_none_is_wanted(tmp_path: Path) -> None:
    data = many(tmp_path / "data", {"train": 24, "validation": 20})
    tasks = {"kind_of": {"kind": "classification", "classes": ["a", "b"]}}
    report = fit(run_config(data, tmp_path / "run", tasks=tasks, epochs=1, max_steps=1, guard=False))
    assert MultiTaskModel.from_pretrained(report.model).guard is None
    assert load_results(report.output / "results.json").guard is None


def test_too_few_rows_are_said(tiny_data: Path) -> None:
    config = run_config(tiny_data, Path("unused"))
    model = build_model(config)
    said: list[str] = []
    assert guard_of_run(model, *build_sets(config, model.encoder.contract), say=said.append) is None
    assert said == ["no out-of-distribution guard: 16 training and 4 validation pictures are too few (it needs 16 and 19)"]
