import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from umsrep.errors import InputError
from umsrep.tasks.augment import OPERATIONS, Magnitude, apply_operation

COLOUR = ["red", "green", "blue", "hue", "saturation"]
GREY = ["brightness", "contrast", "gamma", "solarize", "posterize", "sharpen", "emboss", "blur", "noise", "jpeg", "tone"]
NAMES = [*COLOUR, *GREY, "autocontrast", "equalize", "grayscale"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(*shape: int, seed: int = 0) -> Tensor:
    """8-bit values in a smooth picture with some noise, both ends of the range among them."""
    height, width = shape[-2:]
    ramp = torch.linspace(0, 0.8, height)[:, None] * torch.linspace(0.2, 1, width)
    image = (ramp + 0.2 * torch.rand(shape, generator=seeded(seed))).clamp(0, 1)
    image[..., 0, 0], image[..., -1, -1] = 0, 1
    return (image * 255).round() / 255


def magnitudes(name: str) -> list[Magnitude]:
    """Ends and middle of an operation's range."""
    operation = OPERATIONS[name]
    middle = (operation.low + operation.high) / 2
    values = [operation.low, int(middle) if operation.integer else middle, operation.high]
    return [None] if operation.parameters == 0 else [(a, b) for a in values for b in values] if operation.parameters == 2 else list(values)


def test_there_are_the_nineteen_of_the_paper():
    assert list(OPERATIONS) == NAMES
    assert all(name == operation.name for name, operation in OPERATIONS.items())
    assert [name for name, operation in OPERATIONS.items() if operation.colour] == [*COLOUR, "grayscale"]
    assert {name for name, operation in OPERATIONS.items() if operation.integer} == {"solarize", "posterize", "jpeg"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_output_is_new_in_range_and_the_input_unchanged(name, dtype):
    for shape in ((3, 17, 24), (2, 3, 16, 16), (1, 9, 12), (2, 2, 1, 8, 8), (4, 10, 10)):
        if OPERATIONS[name].colour and shape[-3] != 3:
            continue
        image = picture(*shape).to(dtype)
        kept = image.clone()
        for magnitude in magnitudes(name):
            made = apply_operation(image, name, magnitude, seeded())
            assert made.shape == image.shape
            assert made.dtype == dtype
            assert made.is_contiguous()
            assert float(made.min()) >= 0
            assert float(made.max()) <= 1
            made.add_(1)
            assert torch.equal(image, kept), (name, magnitude)


@pytest.mark.parametrize("name", [n for n in NAMES if OPERATIONS[n].neutral is not None])
def test_the_neutral_magnitude_changes_nothing(name):
    image = torch.rand(2, 3, 12, 12, generator=seeded())  # values finer than 8 bits
    assert torch.equal(apply_operation(image, name, OPERATIONS[name].neutral, seeded()), image)


@pytest.mark.parametrize("name", [n for n in NAMES if OPERATIONS[n].neutral is not None and not OPERATIONS[n].integer])
def test_close_to_neutral_changes_little(name):
    image = picture(3, 16, 16)
    neutral = OPERATIONS[name].neutral
    assert neutral is not None
    near = (neutral[0] + 1e-4, neutral[1] - 1e-4) if isinstance(neutral, tuple) else neutral + 1e-4
    assert torch.allclose(apply_operation(image, name, near, seeded()), image, atol=2e-3)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "noise"])
def test_a_batch_is_its_images_one_by_one(name):
    batch = torch.stack([picture(3, 15, 16, seed=s) for s in range(3)])
    for magnitude in magnitudes(name):
        together = apply_operation(batch, name, magnitude)
        alone = torch.stack([apply_operation(image, name, magnitude) for image in batch])
        assert torch.allclose(together, alone, atol=1e-6)


def test_golden_values():
    image = torch.tensor([0.0, 0.25, 0.5, 1.0]).expand(3, 4, 4)
    row: dict[tuple[str, float | tuple[float, float]], list[float]] = {
        ("red", 2.0): [0, 0.5, 1, 1],
        ("brightness", 0.5): [0, 0.125, 0.25, 0.5],
        ("contrast", 2.0): [0, 0.0625, 0.5625, 1],
        ("gamma", 2.0): [0, 0.0625, 0.25, 1],
        ("solarize", 128): [0, 0.25, 0.5, 0],
        ("tone", (0.0, 1.0)): [0, 0.15625, 0.5, 1],
        ("posterize", 1): [0, 0, 128 / 255, 128 / 255],
    }
    for (name, magnitude), wanted in row.items():
        assert apply_operation(image, name, magnitude)[0, 0].tolist() == pytest.approx(wanted, abs=2e-3 if name == "solarize" else 1e-6), (
            name
        )


def test_solarize_counts_in_grey_levels():
    grey = (torch.arange(256) / 255).reshape(1, 16, 16)
    for threshold in (0, 1, 100, 255):
        changed = apply_operation(grey, "solarize", threshold).mul(255).round().flatten()
        assert torch.equal(changed, torch.tensor([255 - k if k >= threshold else k for k in range(256)], dtype=torch.float32))


def test_agrees_with_pillow_on_grey_levels():
    stored = (picture(1, 32, 32) * 255).round().to(torch.uint8)
    pil = Image.fromarray(stored[0].numpy())
    for bits in range(1, 9):
        ours = apply_operation(stored / 255, "posterize", bits) * 255
        assert np.array_equal(ours[0].round().numpy(), np.asarray(ImageOps.posterize(pil, bits)))
    assert np.array_equal((apply_operation(stored / 255, "equalize") * 255).round()[0].numpy(), np.asarray(ImageOps.equalize(pil)))
    assert np.abs((apply_operation(stored / 255, "autocontrast") * 255)[0].numpy() - np.asarray(ImageOps.autocontrast(pil))).max() <= 1
    buffer = io.BytesIO()
    pil.save(buffer, "JPEG", quality=30)
    compressed = (apply_operation(stored / 255, "jpeg", 30) * 255).round()[0].numpy()
    assert np.abs(compressed - np.asarray(Image.open(buffer), dtype=np.float32)).max() <= 1


def test_blur_is_a_gaussian():
    image = torch.zeros(1, 41, 41)
    image[0, 20, 20] = 1
    blurred = apply_operation(image, "blur", 2.0)[0]
    offsets = torch.arange(41) - 20.0
    variance = float((blurred.sum(0) * offsets**2).sum())
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-5)
    assert variance == pytest.approx(4, rel=0.05)  # three standard deviations are kept
    assert torch.allclose(blurred, blurred.T, atol=1e-7)
    flat = torch.full((1, 9, 9), 0.5)
    assert torch.allclose(apply_operation(flat, "blur", 3.0), flat)  # mirrored borders; narrower than the kernel


def test_filters_see_the_neighbours_they_should():
    image = torch.full((1, 5, 5), 0.5)
    image[0, 2, 2] = 0.6
    sharp = apply_operation(image, "sharpen", 0.1)[0]
    assert float(sharp[2, 2]) == pytest.approx(0.5 + 0.1 * (0.9 + 0.9), abs=1e-6)
    assert float(sharp[1, 1]) == pytest.approx(0.5 - 0.01, abs=1e-6)
    emboss = apply_operation(image, "emboss", 1.0)[0]
    assert float(emboss[1, 1]) == pytest.approx(0.5 + 0.2, abs=1e-6)  # the bright point is below right of it, weight 2
    assert float(emboss[3, 3]) == pytest.approx(0.5 - 0.2, abs=1e-6)


def test_noise_is_the_generators_and_uniform():
    image = torch.full((3, 64, 64), 0.5)
    first = apply_operation(image, "noise", 0.2, seeded(1))
    assert torch.equal(first, apply_operation(image, "noise", 0.2, seeded(1)))
    assert not torch.equal(first, apply_operation(image, "noise", 0.2, seeded(2)))
    assert torch.equal(first[0], first[2])
    assert float(first.std()) == pytest.approx(0.2 / 12**0.5, rel=0.05)
    batch = apply_operation(image.expand(2, 3, 64, 64), "noise", 0.2, seeded(1))
    assert not torch.equal(batch[0], batch[1])


def test_a_lower_quality_is_further_away():
    image = picture(3, 48, 48)
    errors = [float((apply_operation(image, "jpeg", q) - image).square().mean()) for q in (100, 60, 20, 1)]
    assert errors == sorted(errors)
    assert torch.equal(apply_operation(image, "jpeg", 0), apply_operation(image, "jpeg", 1))


def test_hue_turns_red_to_green():
    red = torch.zeros(3, 4, 4)
    red[0] = 1
    green = apply_operation(red, "hue", 1 / 3)
    assert green[:, 0, 0].tolist() == pytest.approx([0, 1, 0], abs=1e-5)
    assert torch.allclose(apply_operation(picture(3, 8, 8), "grayscale")[0], apply_operation(picture(3, 8, 8), "saturation", 0.0)[1])


@pytest.mark.parametrize(
    ("name", "magnitude", "told"),
    [
        ("blurr", 1.0, "did you mean 'blur'"),
        ("blur", 4.0, "from 0 to 3"),
        ("blur", float("nan"), "from 0 to 3"),
        ("posterize", 2.5, "whole number"),
        ("tone", 0.5, "a pair"),
        ("equalize", 1.0, "no magnitude"),
        ("gamma", None, "one magnitude"),
        ("noise", 0.1, r"torch\.Generator"),
    ],
)
def test_mistakes_are_told(name, magnitude, told):
    with pytest.raises(InputError, match=told):
        apply_operation(picture(3, 8, 8), name, magnitude)


def test_wrong_images_are_told():
    with pytest.raises(InputError, match="1 channel"):
        apply_operation(picture(1, 8, 8), "hue", 0.1)
    with pytest.raises(InputError, match="uint8"):
        apply_operation(torch.zeros(3, 8, 8, dtype=torch.uint8), "gamma", 0.5)
    with pytest.raises(InputError, match="sides"):
        apply_operation(torch.zeros(3, 1, 8), "gamma", 0.5)
