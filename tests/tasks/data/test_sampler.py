"""The sampler: every row once, every kind in every stretch, one order for any number of processes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umsrep.errors import InputError
from umsrep.tasks.data.sampler import SizedBatches, TaskAwareBatchSampler


def mixed(count: int = 240) -> dict[str, np.ndarray]:
    """A tenth of the rows has masks, half labels, all serve denoising; sorted, so that only mixing can spread them."""
    rows = np.arange(count)
    return {"denoising": np.ones(count, dtype=bool), "disc": rows < count // 10, "size": rows >= count // 2}


def epoch(sampler: TaskAwareBatchSampler, number: int = 0) -> list[list[int]]:
    sampler.epoch = number
    return list(sampler)


def test_every_row_once_an_epoch() -> None:
    sampler = TaskAwareBatchSampler(mixed(), 8, seed=0)
    for number in range(3):
        batches = epoch(sampler, number)
        assert len(batches) == len(sampler) == 30
        assert {len(b) for b in batches} == {8}
        assert sorted(r for b in batches for r in b) == list(range(240))


def test_each_kind_is_spread_over_the_batches() -> None:
    annotated = mixed()
    for number in range(5):
        batches = epoch(TaskAwareBatchSampler(annotated, 20, seed=3), number)
        # 24 rows with masks in 12 batches are 2 each; 120 labelled ones 10 each. One neighbour may fall over each border.
        assert all(1 <= annotated["disc"][b].sum() <= 4 for b in batches)
        assert all(8 <= annotated["size"][b].sum() <= 12 for b in batches)


def test_a_plain_shuffle_would_fail_the_spread() -> None:
    annotated = mixed()
    random = np.random.default_rng(0)
    counts = np.stack([annotated["disc"][random.permutation(240).reshape(12, 20)].sum(1) for _ in range(5)])
    assert counts.min() < 1 or counts.max() > 4


def test_order_depends_on_seed_and_epoch_alone() -> None:
    first = epoch(TaskAwareBatchSampler(mixed(), 8, seed=1), 4)
    assert first == epoch(TaskAwareBatchSampler(mixed(), 8, seed=1), 4)
    assert first != epoch(TaskAwareBatchSampler(mixed(), 8, seed=1), 5)
    assert first != epoch(TaskAwareBatchSampler(mixed(), 8, seed=2), 4)


def test_ranks_share_out_the_same_global_batches() -> None:
    whole = epoch(TaskAwareBatchSampler(mixed(), 8, seed=1), 2)
    for world in (2, 4):
        parts = [epoch(TaskAwareBatchSampler(mixed(), 8, seed=1, rank=r, world_size=world), 2) for r in range(world)]
        for number, batch in enumerate(whole):
            assert [len(p[number]) for p in parts] == [8 // world] * world
            assert sorted(row for p in parts for row in p[number]) == sorted(batch)


def test_starting_in_the_middle_gives_the_rest() -> None:
    whole = epoch(TaskAwareBatchSampler(mixed(), 8, seed=1))
    assert epoch(TaskAwareBatchSampler(mixed(), 8, seed=1, start=11)) == whole[11:]


def test_rows_that_serve_no_task_are_left_out() -> None:
    annotated = {"a": np.array([True, False, False, True]), "b": np.array([False, False, True, False])}
    sampler = TaskAwareBatchSampler(annotated, 1, seed=0)
    assert sorted(r for b in epoch(sampler) for r in b) == [0, 2, 3]


def test_rows_over_are_left_out_of_one_epoch_but_not_of_all() -> None:
    sampler = TaskAwareBatchSampler({"a": np.ones(11, dtype=bool)}, 4, seed=0)
    seen = [r for n in range(12) for b in epoch(sampler, n) for r in b]
    assert all(len({r for b in epoch(sampler, n) for r in b}) == 8 for n in range(12))
    assert set(seen) == set(range(11))


def test_batch_larger_than_the_data_is_cut_and_too_few_rows_refused() -> None:
    sampler = TaskAwareBatchSampler({"a": np.ones(5, dtype=bool)}, 16, seed=0, world_size=2)
    assert (sampler.batch_size, len(sampler)) == (4, 1)
    with pytest.raises(InputError, match="1 annotated training rows are too few for 2 processes"):
        TaskAwareBatchSampler({"a": np.array([True, False])}, 4, seed=0, world_size=2)
    with pytest.raises(InputError, match=r"batch_size 5 .* not divisible by 2 processes"):
        TaskAwareBatchSampler({"a": np.ones(9, dtype=bool)}, 5, seed=0, world_size=2)


@settings(max_examples=40, deadline=None)
@given(
    patterns=st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=4, max_size=60).filter(
        lambda p: sum(map(any, p)) >= 2
    ),
    batch=st.integers(1, 6),
    seed=st.integers(0, 100),
)
def test_no_row_twice_and_ranks_disjoint(patterns: list[tuple[bool, bool, bool]], batch: int, seed: int) -> None:
    annotated = {name: np.array([p[k] for p in patterns]) for k, name in enumerate("abc")}
    parts = [epoch(TaskAwareBatchSampler(annotated, 2 * batch, seed=seed, rank=r, world_size=2)) for r in (0, 1)]
    rows = [row for part in parts for b in part for row in b]
    assert len(rows) == len(set(rows))
    assert all(any(patterns[row]) for row in rows)
    assert len(parts[0]) == len(parts[1])


@pytest.mark.parametrize("exponent", [0.0, 0.5, 0.8])
def test_an_exponent_raises_the_share_of_rare_kinds(exponent: float) -> None:
    annotated = mixed()  # 24 rows with masks, 96 bare, 120 with labels
    sampler = TaskAwareBatchSampler(annotated, 8, seed=1, exponent=exponent)
    sizes = np.array([24, 96, 120])
    expected = 240 * sizes**exponent / (sizes**exponent).sum()
    times = np.zeros(240, dtype=int)
    for number in range(40):
        rows = np.array([r for b in epoch(sampler, number) for r in b])
        assert len(rows) == 240
        found = [int(k.sum()) for k in (annotated["disc"][rows], (rows >= 24) & (rows < 120), annotated["size"][rows])]
        assert np.abs(np.array(found) - expected).max() < 1
        times += np.bincount(rows, minlength=240)
    for kind in (slice(0, 24), slice(24, 120), slice(120, 240)):
        assert np.ptp(times[kind]) <= 1, "rows of a kind serve equally often in the long run"


def test_exponent_one_is_every_row_once() -> None:
    assert epoch(TaskAwareBatchSampler(mixed(), 8, seed=1, exponent=1.0), 3) == epoch(TaskAwareBatchSampler(mixed(), 8, seed=1), 3)


def test_an_epoch_can_begin_in_the_middle() -> None:
    for exponent in (1.0, 0.5):
        whole = epoch(TaskAwareBatchSampler(mixed(), 8, seed=1, exponent=exponent), 5)
        assert epoch(TaskAwareBatchSampler(mixed(), 8, seed=1, exponent=exponent, start=7), 5) == whole[7:]


# ---- batches of several sizes --------------------------------------------------------------------------------------
SIZES = [(32, 32), (64, 32), (64, 64), (96, 96)]


def test_batches_take_the_sizes_in_turn_and_rows_stay_as_they_were() -> None:
    sampler = TaskAwareBatchSampler(mixed(), 8, seed=1)
    for number in (0, 3):
        plain = epoch(sampler, number)
        sized = list(batches := SizedBatches(sampler, SIZES))
        assert len(batches) == len(sized) == 30
        assert [[row for row, _ in batch] for batch in sized] == plain
        of_batch = [{size for _, size in batch} for batch in sized]
        assert all(len(sizes) == 1 for sizes in of_batch)
        turns = [size for sizes in of_batch for size in sizes]
        assert all(set(turns[k : k + 4]) == set(SIZES) for k in range(0, 28, 4)), "each size once a round"
        assert len({tuple(turns[k : k + 4]) for k in range(0, 28, 4)}) > 1, "rounds are drawn anew"


def test_sizes_are_those_of_seed_epoch_and_batch_alone() -> None:
    def sizes(number: int, **options: int) -> list[tuple[int, int]]:
        sampler = TaskAwareBatchSampler(mixed(), 8, **({"seed": 1} | options))
        sampler.epoch = number
        return [batch[0][1] for batch in SizedBatches(sampler, SIZES)]

    whole = sizes(2)
    assert sizes(2, rank=1, world_size=2) == whole
    assert sizes(2, start=7) == whole[7:]
    assert sizes(3) != whole
    assert sizes(2, seed=2) != whole
