"""AdaBN: the statistics of the whole target, however it is cut; no weight changes."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tasks.adapt.nets import Plain, images, trained_norms
from tests.tasks.runs import ARCH
from umsrep.errors import InputError
from umsrep.heads import ClassificationHead, DenoisingHead, SegmentationHead
from umsrep.tasks.adapt import adabn, batch_norms
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import Encoder, InputContract


def encoder() -> Encoder:
    return Encoder.create(ARCH, contract=InputContract(size=32))


def norms_of(model: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in model.state_dict().items() if k.endswith(("running_mean", "running_var"))}


def test_first_norm_has_mean_and_unbiased_variance_of_the_concatenated_target() -> None:
    model, x = trained_norms(Plain()), images()
    assert isinstance(model, Plain)
    adabn(model, x.split([7, 1, 12]))
    seen, norm = model.body[0](x), model.body[1]
    torch.testing.assert_close(norm.running_mean, seen.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, seen.var((0, 2, 3)))


@pytest.mark.parametrize("at_once", [10**9, 0])
def test_all_norms_equal_one_training_pass_over_the_whole_target(at_once: int) -> None:
    """torch's own rule: momentum 1 in training mode puts a batch's statistics into the running ones."""
    model, x = trained_norms(Plain()), images()
    expected = copy.deepcopy(model)
    for module in expected.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            module.train()
    expected(x)
    adabn(model, x.split(6), at_once=at_once)
    for name, value in norms_of(expected).items():
        # a norm that trains divides by the biased deviation, one that is used by the unbiased one: the second differs by 1 / n
        torch.testing.assert_close(norms_of(model)[name], value, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("cut", [[20], [1] * 20, [13, 7], [2, 16, 2]])
def test_the_cut_into_batches_and_the_number_of_passes_play_no_part(cut: list[int]) -> None:
    model, x = trained_norms(Plain()), images()
    whole = norms_of(adabn(copy.deepcopy(model), [x]))
    for at_once in (10**9, 0):
        torch.testing.assert_close(norms_of(adabn(copy.deepcopy(model), x.split(cut), at_once=at_once)), whole, rtol=1e-5, atol=1e-5)


def test_it_is_no_moving_average_and_forgets_what_was_there() -> None:
    model, x = trained_norms(Plain()), images()
    other = copy.deepcopy(model)
    for norm in batch_norms(other).values():
        assert norm.running_mean is not None
        norm.running_mean += 100
    torch.testing.assert_close(norms_of(adabn(other, [x])), norms_of(adabn(model, [x])))
    before = copy.deepcopy(norms_of(model))
    torch.testing.assert_close(norms_of(adabn(model, [x])), before)  # the same target again changes nothing


def test_weights_mode_and_gradients_are_left_alone_and_the_model_itself_is_returned() -> None:
    model = Plain().train()
    model.head.requires_grad_(False)
    model.body[3].eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    assert adabn(model, [images()]) is model
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == set(norms_of(model))
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == [True] * 8 + [False] * 2
    assert not any(v.requires_grad for v in norms_of(model).values())


def test_batches_may_be_dicts_tuples_or_an_iterator() -> None:
    model, x = trained_norms(Plain()), images()
    expected = norms_of(adabn(copy.deepcopy(model), [x]))
    forms: list[Any] = [
        [{"image": x, "label": 1}],
        [(x, torch.zeros(20))],
        iter(x.split(5)),
        (b for b in x.split(5)),
        (x.double().float(),),
    ]
    for batches in forms:
        torch.testing.assert_close(norms_of(adabn(copy.deepcopy(model), batches, at_once=0)), expected, rtol=1e-5, atol=1e-5)


def test_images_of_different_sizes_count_by_their_pixels() -> None:
    model = trained_norms(nn.Sequential(nn.BatchNorm2d(1)))
    small, large = images(3, 4), images(2, 10)
    adabn(model, [small, large])
    values = torch.cat([small.flatten(), large.flatten()])
    torch.testing.assert_close(norms_of(model)["0.running_mean"][0], values.mean())
    torch.testing.assert_close(norms_of(model)["0.running_var"][0], values.var())


def test_large_means_lose_no_variance() -> None:
    model = nn.Sequential(nn.BatchNorm1d(1))
    x = torch.randn(4000, 1) + 1000
    adabn(model, x.split(64))
    torch.testing.assert_close(norms_of(model)["0.running_var"], x.double().var(0).float(), rtol=1e-3, atol=0)


def test_a_norm_that_is_used_twice_takes_all_it_sees() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.norm(x) + self.norm(x + 4)
            return result

    model, x = Twice(), torch.randn(50, 2)
    adabn(model, x.split(10))
    torch.testing.assert_close(norms_of(model)["norm.running_mean"], torch.cat([x, x + 4]).mean(0))


def test_encoder_adapts_every_norm_also_behind_the_last_level_and_when_frozen() -> None:
    model = encoder().freeze()
    before = copy.deepcopy(norms_of(model))
    x = torch.randn(6, 1, 32, 32) * 2 + 1
    adabn(model, x.split(3))
    assert all(not torch.equal(v, before[k]) for k, v in norms_of(model).items())
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def heads(**named: Any) -> MultiTaskModel:
    return MultiTaskModel(encoder(), named)


def test_joint_model_adapts_what_clean_images_pass_in_training() -> None:
    """Norms of a decoder that only the denoising head uses keep theirs: in training they see noisy images, and keep what they have."""
    model = heads(den=DenoisingHead(share=False, width=8), seg=SegmentationHead(("a", "b")), cls=ClassificationHead(("x", "y")))
    before = copy.deepcopy(norms_of(model))
    adabn(model, [torch.randn(6, 1, 32, 32)])
    same = {k for k, v in norms_of(model).items() if torch.equal(v, before[k])}
    assert same == {k for k in before if k.startswith("heads.den.")}
    assert same


def test_a_model_that_only_denoises_adapts_all_it_has() -> None:
    model = heads(den=DenoisingHead(width=8))
    before = copy.deepcopy(norms_of(model))
    adabn(model, [torch.randn(6, 1, 32, 32)])
    changed = {k for k, v in norms_of(model).items() if not torch.equal(v, before[k])}
    assert any(k.startswith("decoders.") for k in changed)


def test_forward_chooses_what_is_adapted() -> None:
    model = trained_norms(Plain())
    assert isinstance(model, Plain)
    before = copy.deepcopy(norms_of(model))
    adabn(model, [images()], forward=model.body[:2])
    assert {k for k, v in norms_of(model).items() if not torch.equal(v, before[k])} == {"body.1.running_mean", "body.1.running_var"}


def test_what_cannot_be_adapted_is_refused_and_nothing_has_changed() -> None:
    for model in (nn.Linear(2, 2), nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, track_running_stats=False))):
        with pytest.raises(InputError, match="no batch norm with running statistics"):
            adabn(model, [images()])
    plain = trained_norms(Plain())
    before = copy.deepcopy(plain.state_dict())
    broken = images()
    broken[3, 0, 2, 2] = math.nan
    cases: list[tuple[list[Any], str]] = [
        ([], "the target has no images"),
        ([images()[:0]], "the target has no images"),
        ([images().split(5)[0], broken], "'body.1' sees values that are NaN or infinite"),
        ([images().to(torch.uint8)], "float tensor"),
        ([{"label": 1}], "a dict with such an 'image'"),
        ([InputError("row 3: cannot be read")], "row 3"),
    ]
    for batches, message in cases:
        for at_once in (10**9, 0):
            with pytest.raises(InputError, match=message):
                adabn(plain, batches, at_once=at_once)
    for name, value in before.items():
        assert torch.equal(plain.state_dict()[name], value)
    with pytest.raises(InputError, match="sees 1 value a channel"):
        adabn(nn.Sequential(nn.BatchNorm1d(2)), [torch.randn(1, 2)])
