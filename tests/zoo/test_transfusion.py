"""Initialisations: where each tensor comes from, and that nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from tests.conformance import perturb
from umsrep.errors import InputError
from umsrep.zoo import Encoder, InputContract
from umsrep.zoo.stages import stages_of
from umsrep.zoo.transfusion import gabor_filters, gabor_init, mean_var_init, transfuse


def pair(arch: str = "cbr_tiny", **arguments: Any) -> tuple[nn.Module, nn.Module]:
    """A target, and a source all of whose tensors differ from it."""
    torch.manual_seed(1)
    target = timm.create_model(arch, in_chans=1, num_classes=0, **arguments)
    source = timm.create_model(arch, in_chans=1, num_classes=0)
    perturb(target, seed=1)
    perturb(source, 0.1, seed=2)
    with torch.no_grad():
        for name, tensor in source.state_dict().items():
            tensor += 3 if name.endswith("num_batches_tracked") else 0
    return target, source


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def unchanged(model: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


# ---- mean-var ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("arch", ["cbr_tiny", "test_resnet", "test_efficientnet"])
def test_mean_var_keeps_each_layers_mean_and_variance(arch: str) -> None:
    target, source = pair(arch)
    for module in source.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data += 0.05  # a mean that shows
    before = snapshot(target), snapshot(source)
    made = mean_var_init(target, source, generator=torch.Generator().manual_seed(0))
    assert unchanged(target, before[0])
    assert unchanged(source, before[1])
    state, given = made.model.state_dict(), source.state_dict()
    convolutions = [n for n, m in target.named_modules() if isinstance(m, nn.Conv2d)]
    assert set(made.drawn) == {f"{n}.weight" for n in convolutions}
    assert set(made.drawn) | set(made.reset) == set(state)
    assert made.kept == made.copied == ()
    for name in made.drawn:
        count, sd = state[name].numel(), float(given[name].std(correction=0))
        assert not torch.equal(state[name], given[name])
        assert float(state[name].mean() - given[name].mean()) == pytest.approx(0, abs=5 * sd / count**0.5)
        assert float(state[name].std() / sd) == pytest.approx(1, abs=5 / (2 * count) ** 0.5)
    for name in made.reset:
        start = 1.0 if name.endswith(("running_var", ".weight")) else 0.0
        assert torch.equal(state[name], torch.full_like(state[name], start)), name


def test_mean_var_is_seeded() -> None:
    target, source = pair()
    states = [mean_var_init(target, source, generator=torch.Generator().manual_seed(seed)).model.state_dict() for seed in (4, 4, 5)]
    weight = "blocks.1.conv.weight"
    assert torch.equal(states[0][weight], states[1][weight])
    assert not torch.equal(states[0][weight], states[2][weight])


def test_mean_var_of_a_transformer_keeps_embeddings() -> None:
    target, source = pair("test_vit")
    made = mean_var_init(target, source)
    state = target.state_dict()
    assert {"cls_token", "pos_embed"} <= set(made.kept)
    assert all(torch.equal(made.model.state_dict()[n], state[n]) for n in made.kept)
    assert {"blocks.0.attn.qkv.weight", "patch_embed.proj.weight"} <= set(made.drawn)
    assert {"blocks.0.attn.qkv.bias", "blocks.0.norm1.weight"} <= set(made.reset)


# ---- transfusion ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("arch", ["cbr_tiny", "test_resnet"])
def test_transfuse_copies_the_first_stages_bit_by_bit(arch: str) -> None:
    target, source = pair(arch)
    before = snapshot(target), snapshot(source)
    groups = stages_of(target, coarse=True, buffers=True)
    for stages in (0, 1, 2, len(groups)):
        made = transfuse(target, source, stages)
        wanted = {name for group in groups[:stages] for name in group}
        assert set(made.copied) == wanted
        for name, value in made.model.state_dict().items():
            assert torch.equal(value, source.state_dict()[name]) == (name in wanted), name
        assert set(made.kept) | wanted == set(target.state_dict())
        assert all(p.requires_grad for p in made.model.parameters()), "all of it trains"
        assert unchanged(target, before[0])
        assert unchanged(source, before[1])


def test_transfuse_into_a_slimmer_top() -> None:
    target, source = pair(widths=(32, 64, 16, 8))
    made = transfuse(target, source, 2)
    assert torch.equal(made.model.state_dict()["blocks.1.bn.running_var"], source.state_dict()["blocks.1.bn.running_var"])
    with pytest.raises(InputError, match=r"stages 1 to 3: 'blocks.2.conv.weight' has shape \(128, 64, 5, 5\) in the source"):
        transfuse(target, source, 3)


def test_encoders_give_encoders() -> None:
    first, second = (Encoder.create("cbr_tiny", contract=InputContract(size=32)) for _ in range(2))
    made = transfuse(first, second, 4).model
    assert isinstance(made, Encoder)
    assert torch.equal(
        made.embed(torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))).isfinite().all(), torch.tensor(True)
    )
    assert isinstance(gabor_init(first).model, Encoder)
    assert isinstance(mean_var_init(first, second).model, Encoder)


def test_other_architectures_are_refused() -> None:
    target, _ = pair()
    other = timm.create_model("resnet18", in_chans=1, num_classes=0)
    for call in (lambda: mean_var_init(target, other), lambda: transfuse(target, other, 1)):
        with pytest.raises(InputError, match=r"the source has no 'blocks\.0\.conv\.weight'"):
            call()
    for stages in (-1, 5):
        with pytest.raises(InputError, match=f"stages must be 0 to 4 for this architecture, not {stages}"):
            transfuse(target, target, stages)


# ---- Gabor ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("count", "size"), [(32, (7, 7)), (64, (7, 7)), (24, (3, 3)), (16, (16, 16)), (8, (5, 3))])
def test_gabor_filters_are_distinct_and_answer_no_flat_image(count: int, size: tuple[int, int]) -> None:
    filters = gabor_filters(count, size)
    assert filters.shape == (count, *size)
    torch.testing.assert_close(filters.sum((1, 2)), torch.zeros(count, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(filters.square().sum((1, 2)), torch.ones(count, dtype=torch.float64))
    likeness = filters.flatten(1) @ filters.flatten(1).T - torch.eye(count)
    assert likeness.max() < (0.999 if min(size) > 3 else 1.001)


def test_gabor_filters_prefer_their_orientation() -> None:
    """A grating along the first orientation excites that filter most among those of its frequency and phase."""
    filters = gabor_filters(16, (11, 11))[:8]
    u = torch.arange(11, dtype=torch.float64) - 5
    grating = torch.cos(2 * torch.pi * u * (1 / 33) ** 0.5).expand(11, 11)
    answers = (filters * grating).sum((1, 2)).abs()
    assert answers.argmax() == 0
    assert answers[4] < 0.2 * answers[0]  # at a right angle


@pytest.mark.parametrize("arch", ["cbr_tiny", "test_resnet", "test_efficientnet"])
def test_gabor_init_changes_the_first_convolution_alone(arch: str) -> None:
    target, _ = pair(arch)
    before = snapshot(target)
    made = gabor_init(target)
    (name,) = made.drawn
    state = made.model.state_dict()
    assert [n for n in state if not torch.equal(state[n], before[n])] == [name]
    assert float(state[name].std(correction=0)) == pytest.approx(float(before[name].std(correction=0)), rel=1e-5)
    assert unchanged(target, before)


def test_gabor_init_needs_a_kernel() -> None:
    with pytest.raises(InputError, match="no ungrouped convolution of 3x3 or more"):
        gabor_init(nn.Sequential(nn.Conv2d(1, 4, 1)))
    rgb = gabor_init(timm.create_model("cbr_tiny", num_classes=0)).model
    weight = rgb.state_dict()["blocks.0.conv.weight"]
    assert torch.equal(weight[:, 0], weight[:, 2])
