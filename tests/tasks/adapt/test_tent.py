"""TENT: gamma and beta alone, surer predictions, the logits from before the step."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from tests.tasks.adapt.nets import Plain, images, trained_norms
from tests.tasks.runs import ARCH
from umsrep.errors import InputError
from umsrep.heads import ClassificationHead, DenoisingHead, SegmentationHead
from umsrep.tasks.adapt import Tent, prediction_entropy
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import Encoder, InputContract


def changed(before: dict[str, Tensor], model: nn.Module) -> set[str]:
    return {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}


def batch_logits(model: nn.Module, x: Tensor) -> Tensor:
    """The logits with statistics of the batch, without a step."""
    other = copy.deepcopy(model).eval()
    for module in other.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
    with torch.no_grad():
        out: Tensor = other(x)
    return out


def test_entropy_has_its_known_values() -> None:
    assert prediction_entropy(torch.zeros(2, 5)).item() == pytest.approx(math.log(5))
    assert prediction_entropy(torch.zeros(2, 5, 3, 3), multi_label=True).item() == pytest.approx(math.log(2))
    assert prediction_entropy(torch.zeros(2, 1)).item() == pytest.approx(math.log(2))  # one class: sigmoid
    assert prediction_entropy(torch.tensor([[1000.0, -1000.0]])).item() == 0
    assert prediction_entropy(torch.tensor([[1000.0, -1000.0]]), multi_label=True).item() == 0
    logits = torch.tensor([[math.log(3.0), 0.0]])  # probabilities 3/4 and 1/4; two classes equal one sigmoid of the difference
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert prediction_entropy(logits).item() == pytest.approx(expected)
    assert prediction_entropy(logits[:, :1]).item() == pytest.approx(expected)


@pytest.mark.parametrize("dense", [False, True])
def test_only_gamma_and_beta_change_and_predictions_become_surer(dense: bool) -> None:
    model, x = trained_norms(Plain(dense=dense)), images()
    before = copy.deepcopy(model.state_dict())
    tent = Tent(model, learning_rate=0.05)
    entropies = [prediction_entropy(tent(x)).item() for _ in range(30)]
    assert changed(before, model) == {f"body.{i}.{k}" for i in (1, 5) for k in ("weight", "bias")}
    assert entropies[-1] < 0.9 * entropies[0]
    assert entropies == sorted(entropies, reverse=True)


def test_returns_the_logits_from_before_the_step_with_statistics_of_the_batch() -> None:
    model, x = trained_norms(Plain()), images()
    expected = batch_logits(model, x)
    with torch.no_grad():
        assert not torch.allclose(model(x), expected, atol=0.01)  # running statistics give others
    tent = Tent(model, learning_rate=0.1)
    logits = tent(x)
    torch.testing.assert_close(logits, expected)
    assert not logits.requires_grad
    second = batch_logits(model, x)  # of the model after the step
    torch.testing.assert_close(tent(x), second)
    assert not torch.allclose(second, expected, atol=1e-3)


def test_several_steps_return_the_logits_from_before_the_last() -> None:
    model, x = trained_norms(Plain()), images()
    one, two = Tent(copy.deepcopy(model), learning_rate=0.05), Tent(copy.deepcopy(model), learning_rate=0.05, steps=2)
    one(x)
    torch.testing.assert_close(two(x), one(x))


def test_reset_and_episodes_begin_anew() -> None:
    model, x, y = trained_norms(Plain()), images(), images()
    before = copy.deepcopy(model.state_dict())
    tent = Tent(model, learning_rate=0.05)
    first, second = tent(x), tent(y)
    tent.reset()
    assert not changed(before, model)
    torch.testing.assert_close(tent(x), first)  # and so is the optimiser
    torch.testing.assert_close(tent(y), second)
    tent.reset()
    fresh = tent(y)
    episodic = Tent(trained_like(model, before), learning_rate=0.05, episodic=True)
    episodic(x)
    torch.testing.assert_close(episodic(y), fresh)


def trained_like(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    other = copy.deepcopy(model)
    other.load_state_dict(state)
    return other


def test_learning_rate_zero_is_statistics_of_the_batch_alone() -> None:
    model, x = trained_norms(Plain()), images()
    before = copy.deepcopy(model.state_dict())
    torch.testing.assert_close(Tent(model, learning_rate=0)(x), batch_logits(model, x))
    assert not changed(before, model)


def test_mode_and_what_learns_are_as_before_and_no_grad_is_no_hindrance() -> None:
    model = Plain().train()
    model.requires_grad_(False)
    model.head.requires_grad_(True)
    model.body[1].eval()
    modes, learning = [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]
    before = copy.deepcopy(model.state_dict())
    with torch.inference_mode():
        x = images()
        Tent(model, learning_rate=0.05)(x)
    assert changed(before, model)
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == learning
    assert all(p.grad is None for p in model.parameters())
    assert all(m.track_running_stats for m in model.modules() if isinstance(m, nn.BatchNorm2d))


def test_multi_label_takes_the_sigmoids_entropy() -> None:
    model, x = trained_norms(Plain()), images()
    tent = Tent(model, learning_rate=0.05, multi_label=True)
    entropies = [prediction_entropy(tent(x), multi_label=True).item() for _ in range(30)]
    assert entropies[-1] < 0.9 * entropies[0]


def joint() -> MultiTaskModel:
    heads = {
        "den": DenoisingHead(width=8),
        "seg": SegmentationHead(("a", "b")),
        "cls": ClassificationHead(("x", "y", "z")),
        "signs": ClassificationHead(("p", "q"), multi_label=True),
    }
    return MultiTaskModel(Encoder.create(ARCH, contract=InputContract(size=32)), heads)


def test_joint_model_adapts_with_its_heads_kinds() -> None:
    model, x = joint(), torch.randn(6, 1, 32, 32)
    model.encoder.freeze()
    before = copy.deepcopy(model.state_dict())
    tent = Tent(model, learning_rate=0.01)
    outputs = tent(x)
    assert {name: out.shape for name, out in outputs.items()} == {"seg": (6, 2, 32, 32), "cls": (6, 3), "signs": (6, 2)}
    norms = [n for n, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert changed(before, model) <= {f"{n}.{k}" for n in norms for k in ("weight", "bias")}
    assert any(k.startswith("encoder.") for k in changed(before, model))
    assert any(k.startswith("decoders.") for k in changed(before, model))
    assert not any(p.requires_grad for p in model.encoder.parameters())

    def mean_entropy(outputs: dict[str, Tensor]) -> float:
        return sum(prediction_entropy(out, multi_label=name == "signs").item() for name, out in outputs.items()) / 3

    first = mean_entropy(outputs)
    for _ in range(5):
        outputs = tent(x)
    assert mean_entropy(outputs) < first


def test_heads_can_be_chosen() -> None:
    model = joint()
    assert list(Tent(model, tasks=["cls"])(torch.randn(4, 1, 32, 32))) == ["cls"]
    with pytest.raises(InputError, match="'den' only denoises"):
        Tent(model, tasks=["cls", "den"])
    with pytest.raises(InputError, match="no head 'cl'; did you mean"):
        Tent(model, tasks=["cl"])


def test_what_cannot_be_adapted_is_refused_and_nothing_has_changed() -> None:
    for model in (nn.Linear(2, 2), nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, affine=False)), nn.LayerNorm(3)):
        with pytest.raises(InputError, match="no batch norm with gamma and beta"):
            Tent(model)
    plain = trained_norms(Plain())
    before = copy.deepcopy(plain.state_dict())
    tent = Tent(plain)
    with pytest.raises(InputError, match="a batch of 1 has no statistics"):
        tent(images(1))
    broken = images()
    broken[0, 0, 0, 0] = math.nan
    with pytest.raises(InputError, match="entropy is not finite"):
        tent(broken)
    assert not changed(before, plain)
    with pytest.raises(InputError, match="must return logits"):
        Tent(nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(0)))(images())
    with pytest.raises(InputError, match="only denoises"):
        Tent(MultiTaskModel(Encoder.create(ARCH, contract=InputContract(size=32)), {"den": DenoisingHead(width=8)}))
    with pytest.raises(InputError, match="has no heads to choose"):
        Tent(plain, tasks=["cls"])
    for wrong in ({"learning_rate": -1.0}, {"learning_rate": math.nan}, {"steps": 0}):
        with pytest.raises(InputError, match="learning_rate must be 0 or more and steps 1 or more"):
            Tent(plain, **wrong)
