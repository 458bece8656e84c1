"""What a run trains, as its configuration says; whole runs in test_trainer.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from tests.tasks.runs import TASKS, run_config
from umsrep.errors import InputError
from umsrep.tasks.assembly import Assembly
from umsrep.tasks.data.dataset import collate


def test_steps_are_counted_from_rows_batches_and_accumulation(tiny_data: Path) -> None:
    made = Assembly(run_config(tiny_data, Path("unused"), batch_size=2, epochs=5, optimiser={"accumulate": 3}), Accelerator())
    assert (made.steps_per_epoch, made.total_steps) == (2, 10), "16 rows, 8 batches, 2 whole steps an epoch"


def test_more_accumulation_than_an_epoch_has_batches_is_refused(tiny_data: Path) -> None:
    config = run_config(tiny_data, Path("unused"), batch_size=8, optimiser={"accumulate": 3})
    with pytest.raises(InputError, match=r"optimiser\.accumulate is 3, but an epoch has only 2 batch\(es\) of 8 of 16 training rows"):
        Assembly(config, Accelerator())


def test_sizes_that_the_encoder_does_not_take_are_refused_before_the_run(tiny_data: Path) -> None:
    given = {"tasks": {"size": TASKS["size"]}, "image_size": 64, "size_factors": [0.5, 1.0]}
    made = Assembly(run_config(tiny_data, Path("unused"), **given), Accelerator())
    assert made.sizes == [(32, 32), (64, 64)]
    with pytest.raises(InputError, match="size_factors: mixer_s32_224 does not take 32 x 32 pixels: Input height"):
        Assembly(run_config(tiny_data, Path("unused"), encoder={"arch": "mixer_s32_224"}, **given), Accelerator())
    with pytest.raises(InputError, match="batches of 32 pixels need two rows or more on each process"):
        Assembly(run_config(tiny_data, Path("unused"), batch_size=1, **given), Accelerator())


@pytest.mark.parametrize("last", [True, False])
def test_memory_order(last: bool, tiny_data: Path) -> None:
    made = Assembly(run_config(tiny_data, Path("unused"), channels_last=last), Accelerator())
    batch = collate([made.train_set[row] for row in (0, 1)])
    assert isinstance(batch, dict)
    wide = dict(batch) | {"image": batch["image"].expand(-1, 3, -1, -1)}
    assert made.finish(wide)["image"].is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    weight = made.model.encoder.model.get_submodule("blocks.1.0").get_submodule("conv_exp").weight
    assert isinstance(weight, torch.Tensor)
    assert weight.is_contiguous(memory_format=torch.channels_last) == last


def test_augmentation_on_the_device_is_that_of_the_loader(tiny_data: Path) -> None:
    made = [Assembly(run_config(tiny_data, Path("unused"), augment_on_device=on), Accelerator()) for on in ("auto", True)]
    assert [m.train_set.on_device for m in made] == [False, True], "auto is the loader's on a CPU"
    batches = []
    for assembly in made:
        batch = collate([assembly.train_set[row] for row in (0, 2, 5)])
        assert isinstance(batch, dict)
        batches.append(assembly.finish(batch))
    for key in ("image", "noisy.denoising", "target.denoising"):
        torch.testing.assert_close(batches[1][key], batches[0][key], atol=1e-5, rtol=0)
    assert torch.equal(batches[1]["target.disc"], batches[0]["target.disc"])
