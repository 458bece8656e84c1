"""Unlabelled rows: their views, their order, and how they join a batch."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tasks.runs import rewrite
from tests.tiny import PATIENTS, write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks.data.augment import Augment
from umsrep.tasks.data.dataset import JointDataset, Source
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.data.sampler import TaskAwareBatchSampler
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.unlabelled.rows import Joined, JoinedSampler, Style, UnlabelledDataset, Views, collate_joined, collate_target
from umsrep.zoo import InputContract

CONTRACT = InputContract(channels=1, size=(32, 32))
PLAIN = Views(Augment(), intensity=2.0, noise=0.0, denoising={})


def made(folder: Path, **options: Any) -> UnlabelledDataset:
    manifest = load_manifest(folder)
    return UnlabelledDataset([Source(manifest, range(len(manifest)), (), {})], CONTRACT, seed=3, **options)


def item_of(data: UnlabelledDataset, index: int) -> dict[str, Any]:
    item = data[index]
    assert isinstance(item, dict)
    return item


def sampler(**options: Any) -> TaskAwareBatchSampler:
    return TaskAwareBatchSampler({"size": np.ones(12, dtype=bool)}, 4, seed=5, **options)


# ---- views ---------------------------------------------------------------------------------------------------------
def test_both_views_have_one_geometry_and_the_student_other_grey_levels(tiny_data: Path) -> None:
    """A monotone change of grey levels keeps the order of pixels, which a turn or a shift would not."""
    data = made(tiny_data, views=PLAIN)
    moved = item_of(made(tiny_data), 4)["image"]
    for number in range(6):
        item = item_of(data, number)
        weak, strong, inside = item["weak"][0], item["image"][0], item["inside"]
        assert not torch.allclose(weak, strong, atol=0.02)
        order = weak[inside].argsort()
        steps = strong[inside][order].diff()
        assert float(steps.min()) > -1e-5, "the same pixels are brighter in both"
    assert not torch.allclose(moved, item_of(data, 4)["weak"], atol=0.02), "the geometry is augmentation's"


def test_pixels_from_outside_are_told(tiny_data: Path) -> None:
    views = Views(Augment(rotate=0, shift=0.4, scale=0), intensity=1.0, noise=0.0, denoising={})
    items = [item_of(made(tiny_data, views=views), n) for n in range(6)]
    for item in items:
        outside = ~item["inside"]
        assert bool((CONTRACT.denormalise(item["weak"])[0][outside] < 0.2).all())
    assert any(bool((~item["inside"]).any()) for item in items)
    assert bool(item_of(made(tiny_data, views=Views(Augment(0, 0, 0), 1.0, 0.0, {})), 0)["inside"].all())


def test_noise_is_the_students_alone(tiny_data: Path) -> None:
    still = Augment(0, 0, 0, 0, 0, 0)
    noisy = item_of(made(tiny_data, views=Views(still, 1.0, 25.0, {})), 2)
    clean = item_of(made(tiny_data), 2)["image"]
    torch.testing.assert_close(noisy["weak"], clean, atol=1e-6, rtol=0)
    level = float((noisy["image"] - clean).std()) * 255 * 0.5  # of 0-1, in grey levels
    assert 0 < level < 26


@pytest.mark.parametrize("policy", ["strong", "randaugment", "trivialaugment"])
def test_a_policy_never_moves_one_view_alone(policy: Any, tiny_data: Path) -> None:
    views = Views(Augment(policy=policy), 2.0, 0.0, {})
    assert views.weak == Augment(brightness=0, contrast=0, gamma=0)
    assert views.strong.policy == ("strong" if policy == "strong" else "default")
    assert item_of(made(tiny_data, views=views), 1)["weak"].equal(item_of(made(tiny_data, views=PLAIN), 1)["weak"])


def test_each_use_of_a_row_has_its_own_draws_and_repeats_exactly(tiny_data: Path) -> None:
    data, again = made(tiny_data, views=PLAIN), made(tiny_data, views=PLAIN)
    first, second = item_of(data, 7), item_of(data, 7 + len(data))
    assert first["index"] == second["index"] == 7
    assert not first["weak"].equal(second["weak"])
    assert item_of(again, 7 + len(data))["image"].equal(second["image"])


def test_denoising_gets_two_noisy_versions_of_one_image(tiny_data: Path) -> None:
    views = Views(Augment(0, 0, 0, 0, 0, 0), 1.0, 0.0, {"denoising": Denoising(level=20)})
    item = item_of(made(tiny_data, views=views), 3)
    a, b = (
        CONTRACT.denormalise(item[f"{key}/denoising"] - item["weak"] + CONTRACT.normalise(torch.zeros(()))) for key in ("noisy", "twin")
    )
    for noise in (a, b):
        assert float(noise.std()) * 255 == pytest.approx(20, rel=0.1)
    assert abs(float((a * b).mean()) / float(a.std() * b.std())) < 0.1, "independent"
    assert not item["paired/denoising"]


def test_frames_of_one_scene_are_each_others_targets(tmp_path: Path) -> None:
    """The two images of a patient stand for two frames; the geometry of both is the same."""
    folder = write_tiny_data(tmp_path / "data")
    rewrite(folder, lambda rs: [{**r, "scene": r["patient_id"] if n < 20 else ""} for n, r in enumerate(rs)])
    still = Augment(0, 0, 0, 0, 0, 0)
    data = made(folder, views=Views(still, 1.0, 0.0, {"d": Denoising()}, pair_column="scene"))
    plain = made(folder)
    assert data.frames == {n: [2 * (n // 2), 2 * (n // 2) + 1] for n in range(20)}
    for number in (0, 1, 6):
        item = item_of(data, number)
        assert item["paired/d"]
        torch.testing.assert_close(item["noisy/d"], item_of(plain, number)["image"], atol=1e-6, rtol=0)
        torch.testing.assert_close(item["twin/d"], item_of(plain, number ^ 1)["image"], atol=1e-6, rtol=0)
    assert not item_of(data, 2 * PATIENTS - 1)["paired/d"], "no scene given: two noisy versions"
    shifting = made(folder, views=Views(Augment(0, 0.4, 0, 0, 0, 0), 1.0, 0.0, {"d": Denoising()}, pair_column="scene"))
    for number in range(4):
        item = item_of(shifting, number)
        outside = ~item["inside"]
        assert bool((CONTRACT.denormalise(item["twin/d"])[0][outside] < 0.2).all()), "the other frame moves along"


# ---- order ---------------------------------------------------------------------------------------------------------
def test_every_row_serves_equally_often_and_each_process_has_its_share() -> None:
    whole = JoinedSampler(sampler(), 7, 6, offset=12)
    used = [index for batch in range(14) for index in whole.extra(batch)]
    assert collections.Counter((index - 12) % 7 for index in used) == dict.fromkeys(range(7), 12)
    assert len(set(used)) == len(used), "each use is an item of its own"
    halves = [JoinedSampler(sampler(rank=rank, world_size=2), 7, 6, offset=12) for rank in (0, 1)]
    for batch in range(5):
        parts = [half.extra(batch) for half in halves]
        assert whole.extra(batch) == [index for pair in zip(*parts, strict=True) for index in pair]


def test_a_run_that_goes_on_takes_up_where_it_was() -> None:
    batches = []
    for epoch in range(3):
        base = sampler()
        base.epoch = epoch
        batches += list(JoinedSampler(base, 7, 4, offset=12))
    assert all(len(rows) == 8 and max(rows[:4]) < 12 <= min(rows[4:]) for rows in batches)
    base = sampler(start=1)
    base.epoch = 1
    assert list(JoinedSampler(base, 7, 4, offset=12)) == batches[4:6]


def test_a_share_that_is_not_whole_is_refused() -> None:
    with pytest.raises(InputError, match=r"unlabelled batch_size 3 .* 2 processes"):
        JoinedSampler(sampler(world_size=2), 7, 3, offset=12)


# ---- batches -------------------------------------------------------------------------------------------------------
def test_a_joined_batch_is_the_labelled_one_and_more(tiny_data: Path) -> None:
    manifest = load_manifest(tiny_data)
    labelled = JointDataset([Source(manifest, range(4), ["d"], {})], {"d": Denoising()}, CONTRACT, seed=0)
    views = Views(Augment(), 2.0, 5.0, {"d": Denoising()})
    both = Joined(labelled, made(tiny_data, views=views))
    batch = collate_joined([both[0], both[1], both[4], both[5], both[6]])
    assert isinstance(batch, dict)
    assert batch["index"].tolist() == [0, 1]
    assert batch["rows.d"].tolist() == [0, 1]
    assert batch["extra"].shape == batch["extra_weak"].shape == batch["extra_twin/d"].shape == (3, 1, 32, 32)
    assert batch["extra_inside"].shape == (3, 32, 32)
    assert isinstance(collate_joined([both[0], InputError("broken"), both[5]]), InputError)


def test_a_damaged_image_is_an_error_of_its_row(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    (folder / "images" / "03.png").write_bytes(b"no image")
    data = made(folder)
    assert isinstance(data[3], InputError)
    assert isinstance(collate_target([data[2], data[3]]), InputError)
    batch = collate_target([data[2], data[4]])
    assert isinstance(batch, dict)
    assert batch["image"].shape == (2, 1, 32, 32)


# ---- style ---------------------------------------------------------------------------------------------------------
def test_a_style_is_the_brightness_of_a_target_image(tiny_data: Path) -> None:
    """With the smallest window only the mean is exchanged; the difference to the image is one constant, but for the cut at 0 and 1."""
    target = made(tiny_data)
    image = torch.linspace(0.3, 0.6, 32 * 32).reshape(1, 32, 32)
    styled = Style(target, 0.02)(image, "a key")
    means = [float(target.unit(n)[0].mean()) for n in range(len(target))]
    assert min(abs(float(styled.mean()) - mean) for mean in means) < 1e-4
    assert float((styled - image).std()) < 1e-4
    assert styled.equal(Style(target, 0.02)(image, "a key"))
    assert len({round(float(Style(target, 0.02)(image, str(k)).mean()), 5) for k in range(20)}) > 5
    assert 0 <= float(Style(target, 0.5)(image, "wide").min()) <= float(Style(target, 0.5)(image, "wide").max()) <= 1
