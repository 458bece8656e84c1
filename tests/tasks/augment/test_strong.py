import collections

import numpy as np
import pytest
import torch
from torch import Tensor

from umsrep.errors import InputError
from umsrep.tasks.augment import OPERATIONS, StrongAugment, apply_operation

DRAWS = 6000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(channels: int = 3, side: int = 24) -> Tensor:
    return torch.rand(channels, side, side, generator=seeded(7))


@pytest.fixture(scope="module")
def drawn() -> list[list[tuple[str, object]]]:
    generator = seeded()
    return [list(StrongAugment.draw(generator)) for _ in range(DRAWS)]


def test_two_three_or_four_at_the_papers_frequencies(drawn):
    counts = collections.Counter(map(len, drawn))
    assert set(counts) == {2, 3, 4}
    for number, share in {2: 0.5, 3: 0.3, 4: 0.2}.items():
        assert counts[number] / DRAWS == pytest.approx(share, abs=4 * (share * (1 - share) / DRAWS) ** 0.5)


def test_the_operations_of_an_image_differ_and_all_come_equally_often_first_and_last(drawn):
    assert all(len({name for name, _ in one}) == len(one) for one in drawn)
    for place in (0, 1):
        counts = collections.Counter(one[place][0] for one in drawn)
        assert set(counts) == set(OPERATIONS)
        share = 1 / 19
        assert max(abs(n / DRAWS - share) for n in counts.values()) < 4.5 * (share * (1 - share) / DRAWS) ** 0.5


def test_magnitudes_fill_their_ranges(drawn):
    found: dict[str, list[float]] = collections.defaultdict(list)
    for one in drawn:
        for name, magnitude in one:
            found[name].extend(magnitude if isinstance(magnitude, tuple) else () if magnitude is None else (magnitude,))
    for name, operation in OPERATIONS.items():
        values = torch.tensor(found[name], dtype=torch.float64)
        if operation.parameters == 0:
            assert not found[name]
            continue
        assert len(values) > 500
        assert operation.low <= float(values.min())
        assert float(values.max()) <= operation.high
        span = operation.high - operation.low
        assert float(values.mean()) == pytest.approx(operation.low + span / 2, abs=0.06 * span)
        if operation.integer:
            assert all(isinstance(v, int) for v in found[name])
    assert set(found["posterize"]) == set(range(1, 9))  # both ends


def test_one_generator_gives_one_image_whatever_the_global_state():
    image = picture()
    kept = image.clone()
    for seed in range(40):
        torch.manual_seed(seed)
        first = StrongAugment()(image, generator=seeded(seed))
        torch.manual_seed(seed + 1)
        assert torch.equal(first, StrongAugment()(image, generator=seeded(seed)))
        assert first.shape == image.shape
        assert float(first.min()) >= 0
        assert float(first.max()) <= 1
        assert first.data_ptr() != image.data_ptr()
    assert torch.equal(image, kept)
    results = [StrongAugment()(image, generator=seeded(seed)) for seed in range(20)]
    assert not any(torch.equal(a, b) for i, a in enumerate(results) for b in results[:i])


def test_what_is_drawn_is_applied_in_that_order():
    image = picture()
    for seed in range(60):
        generator = seeded(seed)
        wanted = image
        for name, magnitude in StrongAugment.draw(generator):
            wanted = apply_operation(wanted, name, magnitude, generator)
        assert torch.equal(StrongAugment()(image, generator=seeded(seed)), wanted)


def test_a_grey_image_passes_over_colour_operations_and_keeps_the_others():
    grey = picture(1)
    untouched = 0
    for seed in range(300):
        generator = seeded(seed)
        wanted = grey
        for name, magnitude in StrongAugment.draw(generator):
            wanted = wanted if OPERATIONS[name].colour else apply_operation(wanted, name, magnitude, generator)
        made = StrongAugment()(grey, generator=seeded(seed))
        assert torch.equal(made, wanted)
        untouched += torch.equal(made, grey)
    assert 3 <= untouched <= 35  # .051 of 300 is 15


def test_left_out_operations_are_drawn_and_not_applied():
    image = picture()
    seeds = [s for s in range(200) if [name for name, _ in StrongAugment.draw(seeded(s))][-1] == "noise"]
    assert seeds
    for seed in seeds:
        generator, wanted = seeded(seed), image
        for name, magnitude in StrongAugment.draw(generator)[:-1]:
            wanted = apply_operation(wanted, name, magnitude)
        assert torch.equal(StrongAugment(leave_out=("noise",))(image, generator=seeded(seed)), wanted)
        assert not torch.equal(StrongAugment()(image, generator=seeded(seed)), wanted)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (torch.rand(3, 8, 8) * 255, "from 0 to 1"),
        (torch.full((1, 8, 8), float("nan")), "from 0 to 1"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "uint8"),
        (torch.zeros(2, 3, 8, 8), "one float image"),
        (torch.zeros(1, 0, 8), "one float image"),
        (np.zeros((1, 8, 8)), "not ndarray"),
    ],
)
def test_mistakes_are_told(image, told):
    with pytest.raises(InputError, match=told):
        StrongAugment()(image, generator=seeded())
    with pytest.raises(InputError, match="did you mean 'noise'"):
        StrongAugment(leave_out=("noisy",))
