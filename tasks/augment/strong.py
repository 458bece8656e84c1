"""StrongAugment (Pohjonen et al. 2022, arXiv 2206.15274): two to four of 19 photometric operations, drawn anew for each image."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from umsrep.errors import InputError, nearest
from umsrep.tasks.augment.operations import OPERATIONS, Magnitude, Operation, apply_operation


@dataclasses.dataclass(frozen=True)
class StrongAugment:
    """Draw n from {2: .5, 3: .3, 4: .2}, n different operations of the 19 uniformly, a magnitude for each; apply them in that order.

    Fractions are uniform from the operation's low to its high magnitude, whole numbers uniform with both ends included. Only grey
    levels change, never geometry: masks, boxes and labels stay as they are. Everything comes from the generator: same generator, same
    image.

    What is not applied is drawn all the same: on an image that has not three channels the six colour operations are passed over, and
    so are those in ``leave_out``. Their places and magnitudes are used up, so the others are those that a colour image
    would get; a grey image gets 2.7 * 13 / 19 = 1.85 operations on average, and none with probability .051.

    Attributes:
        leave_out: Operations that are drawn but not applied, such as ``noise`` where the image is the target of a denoiser.
    """

    leave_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse names that are no operation's."""
        for name in self.leave_out:
            if name not in OPERATIONS:
                raise InputError(f"no augmentation is called '{name}'{nearest(name, OPERATIONS)}")

    @staticmethod
    def draw(generator: torch.Generator) -> list[tuple[str, Magnitude]]:
        """Return the operations for one image, in their order, each with its magnitude (none, one, or a pair)."""
        where = float(torch.rand((), generator=generator))
        number = next(count for count, limit in ((2, 0.5), (3, 0.8), (4, math.inf)) if where < limit)
        chosen = torch.randperm(len(OPERATIONS), generator=generator)[:number].tolist()
        operations = list(OPERATIONS.values())
        return [(operations[index].name, draw_magnitude(operations[index], generator)) for index in chosen]

    def __call__(self, image: Tensor, *, generator: torch.Generator) -> Tensor:
        """Augment one image.

        Args:
            image: Float [C, H, W], values from 0 to 1; it stays as it is.
            generator: Of all that is drawn, on the CPU.

        Returns:
            A new tensor of the same shape, values from 0 to 1.

        Raises:
            InputError: for values outside 0-1 (or NaN), no floats, another number of axes, or sides below 2.
        """
        check_unit(image)
        made = image
        for name, magnitude in self.draw(generator):
            if name in self.leave_out or (OPERATIONS[name].colour and image.shape[-3] != 3):
                continue
            made = apply_operation(made, name, magnitude, generator)
        return image.clone() if made is image else made


def draw_magnitude(operation: Operation, generator: torch.Generator) -> Magnitude:
    """Draw an operation's magnitude: uniform over its range, None where it takes none."""
    if operation.parameters == 0:
        return None
    if operation.integer:
        return int(torch.randint(int(operation.low), int(operation.high) + 1, (), generator=generator))
    span = operation.high - operation.low
    values = [operation.low + span * v for v in torch.rand(operation.parameters, generator=generator, dtype=torch.float64).tolist()]
    return (values[0], values[1]) if operation.parameters == 2 else values[0]


def check_unit(image: Tensor) -> None:
    """Refuse what is no float image [C, H, W] in 0-1."""
    if not isinstance(image, Tensor) or image.ndim != 3 or not image.is_floating_point() or not image.numel():
        found = f"{image.dtype} {list(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise InputError(f"augmentation takes one float image [C, H, W], not {found}")
    low, high = (float(v) for v in torch.aminmax(image))
    if not (low >= 0 and high <= 1):
        raise InputError(f"augmentation takes values from 0 to 1, not {low:g} to {high:g}: scale the image first (InputContract.load does)")
