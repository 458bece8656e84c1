"""`choose` from end to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tasks.runs import ARCH
from tests.tiny import write_tiny_data
from umsrep import InputError
from umsrep.tasks.choose import Choice, choose
from umsrep.tasks.choose.scores import CLASSIFICATION
from umsrep.zoo import PRESETS

FIRST, RANDOM = f"{ARCH}.source", f"{ARCH} (random)"


def test_every_task_has_every_score_and_the_baselines(choice: Choice) -> None:
    tasks = {task.name: task for task in choice.tasks}
    assert list(tasks) == ["classification", "segmentation", "denoising"]
    label = tasks["classification"]
    assert set(label.scores) == {*CLASSIFICATION, "parameters", "source_accuracy"}
    assert label.scores["leep"].keys() == {FIRST}
    assert "not applicable" in label.failures["leep"][RANDOM]
    assert label.scores["source_accuracy"].keys() == {RANDOM}
    assert (label.rows, label.annotated, label.patients) == (13, 13, 8)
    assert "leep" not in label.used
    assert set(tasks["segmentation"].scores) == {"cc_fv", "parameters", "source_accuracy"}
    assert tasks["denoising"].basis == "denoising_gain"
    assert set(choice.combined) == {FIRST, RANDOM}
    assert label.truth
    assert "Chaves" in choice.warning
    assert [one.source for one in choice.encoders] == ["classifier, 3 classes", None]


def test_it_is_repeatable_and_served_from_the_cache(tiny_data: Path, tmp_path: Path) -> None:
    options = {"image_size": 32, "resamples": 2, "tasks": ["classification"]}
    first = choose(tiny_data, [ARCH], cache=tmp_path / "cache", **options)  # type: ignore[arg-type]
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert len(kept) == 2  # features and scores
    again = choose(tiny_data, [ARCH], cache=tmp_path / "cache", **options)  # type: ignore[arg-type]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == kept
    without = choose(tiny_data, [ARCH], cache=None, **options)  # type: ignore[arg-type]
    assert first.tasks == again.tasks == without.tasks


@pytest.mark.slow
def test_the_default_compares_presets_with_a_floor(tiny_data: Path, tmp_path: Path) -> None:
    found = choose(tiny_data, image_size=32, resamples=0, tasks=["denoising"], limit=10, cache=tmp_path)
    assert [one.random for one in found.encoders] == [False] * len(PRESETS) + [True] * len({preset.arch for preset in PRESETS.values()})
    assert found.encoders[0].distance is not None
    assert found.encoders[0].card
    assert any("as a floor" in note for note in found.notes)
    assert any("10 of 16" in note for note in found.notes)


def test_faults_are_one_line(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="limit is 10 or more"):
        choose(tiny_data, [ARCH], limit=2)
    with pytest.raises(InputError, match=r"needs a folder .*--out"):
        choose(tiny_data, [ARCH], budget="2")
    with pytest.raises(InputError, match="is not among the encoders"):
        choose(tiny_data, [ARCH], source_accuracy={"test_eficientnet": 0.5})
    folder = write_tiny_data(tmp_path)
    (folder / "images" / "03.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"row 5 \(images/03.png\)"):
        choose(folder, [ARCH], image_size=32, cache=None, resamples=0)


@pytest.mark.slow
def test_an_encoder_beats_random_weights_on_the_set_it_was_trained_on(unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    options = {"image_size": 64, "limit": 150, "resamples": 10, "cache": tmp_path}
    found = choose(unpacked("cxr_guangzhou"), tasks=["label_binary"], **options)  # type: ignore[arg-type]
    [task] = found.tasks
    assert set(task.order()[:2]) == {"ums-cxr-efficientnet-lite0", "ums-cxr-cbr-tiny"}, "of this modality"
    probe = task.scores["linear_probe"]
    assert probe["ums-cxr-efficientnet-lite0"].value > probe["tf_efficientnet_lite0 (random)"].value
    preset = found.encoders[0]
    assert preset.distance is not None
    assert preset.distance.flagged < 0.5
    assert any(row["same_data"] for row in preset.card)


@pytest.mark.slow
def test_masks_of_nerves_are_scored(unpacked: Callable[[str], Path], shared_weights: Path, tmp_path: Path) -> None:
    arch = "tf_efficientnet_lite0"
    specs = [f"{arch}={shared_weights / f'{arch}.imagenet.safetensors'}", arch]
    found = choose(unpacked("us_nerve"), specs, image_size=64, limit=30, resamples=6, tasks=["segmentation"], cache=tmp_path)
    [task] = found.tasks
    assert task.classes == ["background", "class_1", "class_2"]
    assert all(place.interval is not None for place in task.scores["cc_fv"].values())
    assert any("patient of its own" in note for note in found.notes)
