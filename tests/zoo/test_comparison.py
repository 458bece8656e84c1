"""Layer-by-layer comparison of two encoders on images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conformance import perturb
from umsrep.errors import InputError
from umsrep.zoo import Encoder, InputContract
from umsrep.zoo.comparison import compare_encoders
from umsrep.zoo.similarity import linear_cka


@pytest.fixture(scope="module")
def images(tiny_data: Path) -> list[Path]:
    return sorted((tiny_data / "images").glob("*.png"))


def small(seed: int) -> Encoder:
    torch.manual_seed(seed)
    return Encoder.create("cbr_tiny", contract=InputContract(size=32))


@pytest.mark.parametrize("measure", ["cka", "svcca"])
def test_an_encoder_is_itself(images: list[Path], measure: str) -> None:
    encoder = small(0)
    encoder.model.blocks[0].eval()  # type: ignore[index, union-attr]
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    modes = [m.training for m in encoder.modules()]
    matrix = compare_encoders(encoder, encoder, images, measure=measure, batch_size=8)  # type: ignore[arg-type]
    assert matrix.shape == (5, 5)
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-9)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    assert [m.training for m in encoder.modules()] == modes


def test_one_batch_is_cka_of_pooled_maps_and_training_shows(images: list[Path]) -> None:
    first, second = small(0), Encoder.create("test_efficientnet", contract=InputContract(size=64))
    matrix = compare_encoders(first, second, images, grid=1)
    assert matrix.shape == (5, 5)
    with torch.no_grad():
        x = first.eval()(torch.stack([first.contract.load(p) for p in images]))[1].mean((2, 3))
        y = second.eval()(torch.stack([second.contract.load(p) for p in images]))[3].mean((2, 3))
    assert matrix[1, 3] == pytest.approx(linear_cka(x, y, unbiased=True), abs=1e-5)
    changed = small(0)
    perturb(changed, 0.5)
    alike = np.diag(compare_encoders(small(0), changed, images))
    assert (alike < 0.9999).all()
    assert (np.diff(alike) < 0).all(), "changes of every layer add up from layer to layer"


def test_errors(images: list[Path]) -> None:
    with pytest.raises(InputError, match="4 images or more, has 3"):
        compare_encoders(small(0), small(1), images[:3])
    with pytest.raises(InputError, match="measure must be cka or svcca"):
        compare_encoders(small(0), small(1), images, measure="cca")  # type: ignore[arg-type]
    free = Encoder.create("cbr_tiny", contract=InputContract())
    arrays = [np.full((32 + 32 * (i % 2), 32), 100 + i, dtype=np.uint8) for i in range(6)]
    with pytest.raises(InputError, match="the images differ in size"):
        compare_encoders(free, free, arrays)
