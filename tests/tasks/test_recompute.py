"""Gradient checkpointing: the same gradients and statistics, less memory."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tasks.runs import run_config, tiny_model
from umsrep.errors import InputError
from umsrep.tasks.data.dataset import collate
from umsrep.tasks.recompute import blocks_of, recomputed
from umsrep.tasks.setup import build_sets, build_tasks
from umsrep.tasks.step import JointStep, annotated_rows

NAMES = ("denoising", "disc", "size")
CNNS = ("test_efficientnet", "test_resnet", "test_convnext")
OTHERS = ("mobilenetv3_small_050", "regnetx_002", "densenet121", "swin_tiny_patch4_window7_224", "test_vit3")


class Made:
    """Two steps of the same weights, without and with recomputation, and a batch."""

    def __init__(self, data: Path, arch: str, size: int = 32, **changes: Any) -> None:
        changes = {"encoder": {"arch": arch}, "image_size": size, **changes}
        config = run_config(data, Path("unused"), **changes)
        model = tiny_model(data, **changes)
        train = build_sets(config, model.encoder.contract)[0]
        tasks = build_tasks(config, train)
        batch = collate([train[row] for row in (0, 1, 3, 4, 5)])
        assert isinstance(batch, dict)
        self.batch = batch
        names = list(tasks)
        self.totals = dict(zip(names, annotated_rows(batch, names).tolist(), strict=True))
        twin = copy.deepcopy(model)
        weights = dict.fromkeys(names, 1.0)
        self.plain = JointStep(model, tasks, weights).train()
        self.ours = JointStep(twin, tasks, weights, recompute=True).train()

    def run(self, step: JointStep, seed: int = 3) -> tuple[dict[str, Tensor], int]:
        """Gradients, and the bytes that the forward pass keeps for them (each storage once, the weights aside)."""
        torch.manual_seed(seed)  # of dropout and stochastic depth
        own = {p.untyped_storage().data_ptr() for p in [*step.parameters(), *step.buffers()]}
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            terms, _ = step(self.batch, self.totals)
        saved = sum(kept.values())
        torch.stack(list(terms.values())).sum().backward()
        return {n: p.grad.clone() for n, p in step.named_parameters() if p.grad is not None}, saved


def check_same(made: Made) -> tuple[int, int]:
    (plain, much), (ours, little) = made.run(made.plain), made.run(made.ours)
    assert plain.keys() == ours.keys()
    for name, gradient in plain.items():
        scale = max(1.0, float(gradient.abs().max()))
        assert float((ours[name] - gradient).abs().max()) <= 1e-6 * scale, name
    for (name, one), other in zip(made.plain.state_dict().items(), made.ours.state_dict().values(), strict=True):
        assert torch.equal(one, other), f"{name}: a batch must count once in the running statistics"
    return much, little


@pytest.mark.parametrize("arch", CNNS)
def test_the_same_gradients_and_statistics_from_less_memory(arch: str, tiny_data: Path) -> None:
    much, little = check_same(Made(tiny_data, arch))
    assert little < 0.6 * much


@pytest.mark.slow
@pytest.mark.parametrize("arch", OTHERS)
def test_other_architectures(arch: str, tiny_data: Path) -> None:
    decoder = {"decoder": "dpt"} if arch == "test_vit3" else {}
    tasks = {"disc": {"kind": "segmentation", "classes": ["background", "disc"], **decoder}}
    much, little = check_same(Made(tiny_data, arch, size=160 if arch == "test_vit3" else 64, tasks=tasks))
    assert little < 0.7 * much


def test_gradients_can_be_taken_task_by_task(tiny_data: Path) -> None:
    """Projection of gradients goes through the same graph several times."""
    made = Made(tiny_data, "test_efficientnet")
    found = []
    for step in (made.plain, made.ours):
        torch.manual_seed(3)  # of dropout
        terms, _ = step(made.batch, made.totals)
        parameters = list(step.model.encoder.parameters())
        found.append([torch.autograd.grad(t, parameters, retain_graph=True, allow_unused=True) for t in terms.values()])
    for one, other in zip(*found, strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def test_copies_of_the_model_run_their_own_weights(tiny_data: Path) -> None:
    made = Made(tiny_data, "test_efficientnet")
    made.ours(made.batch, made.totals)
    assert not [name for name, module in made.ours.named_modules() if "forward" in vars(module)], "nothing stays patched"


def test_the_blocks_are_timms(tiny_data: Path) -> None:
    model = tiny_model(tiny_data, encoder={"arch": "test_resnet"})
    blocks = blocks_of(model)
    assert model.encoder.model.get_submodule("layer1") in blocks, "of one block"
    assert not [b for b in blocks if isinstance(b, nn.Conv2d | nn.BatchNorm2d)]
    assert blocks[-1] is model.decoders["unet"]
    with recomputed(blocks):
        assert all("forward" in vars(block) for block in blocks)


def test_an_encoder_without_blocks_is_refused(tiny_data: Path) -> None:
    model = tiny_model(tiny_data)
    flat = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3))
    flat.group_matcher = lambda coarse: {"stem": "0", "blocks": r"(\d+)"}  # type: ignore[assignment]
    model.encoder.model = flat
    with pytest.raises(InputError, match="gradient_checkpointing: test_efficientnet is not made of blocks"):
        blocks_of(model)
