"""DANN: the reversed gradient, the schedule, and a game that hides the domain."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from umsrep.errors import InputError
from umsrep.tasks.adapt import DomainDiscriminator, GradientReversal, dann_weight, domain_adversarial_loss


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 2.5])
def test_reversal_is_the_identity_forward_and_minus_weight_backward(weight: float) -> None:
    reverse, x = GradientReversal(weight), torch.randn(3, 4, requires_grad=True)
    y = reverse(x)
    assert torch.equal(y, x)
    incoming = torch.randn(3, 4)
    y.backward(incoming)
    assert x.grad is not None
    assert torch.equal(x.grad, -weight * incoming)


def test_the_weight_can_be_set_and_an_earlier_graph_keeps_its_own() -> None:
    reverse, x = GradientReversal(1.0), torch.ones(2, requires_grad=True)
    y = reverse(x)
    reverse.weight = 0.5
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.tolist() == [-1, -1]
    (gradient,) = torch.autograd.grad(reverse(x).sum(), x)
    assert gradient.tolist() == [-0.5, -0.5]
    assert not list(reverse.parameters())
    assert "0.5" in repr(reverse)


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(InputError, match="weight must be a number of 0 or more"):
        GradientReversal(weight)
    reverse = GradientReversal()
    with pytest.raises(InputError, match="weight"):
        reverse.weight = weight
    assert reverse.weight == 1


def test_schedule_goes_from_zero_to_one() -> None:
    assert dann_weight(0) == 0
    assert dann_weight(1) == pytest.approx(1, abs=1e-4)
    assert dann_weight(0.1) == pytest.approx(math.tanh(0.5))  # 2 / (1 + e^-x) - 1 = tanh(x / 2)
    steps = 30
    values = [dann_weight(step / max(1, steps - 1)) for step in range(steps)]
    assert values == sorted(values)
    assert values[-1] > 0.9999
    for progress in (-0.1, 1.01, math.nan):
        with pytest.raises(InputError, match="progress must be between 0 and 1"):
            dann_weight(progress)


def test_loss_of_a_discriminator_that_guesses_is_ln_2_whatever_the_sizes() -> None:
    class Guess(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum(dim=1) * 0

    loss = domain_adversarial_loss(Guess(), GradientReversal(), torch.randn(2, 3), torch.randn(11, 3))
    assert loss.item() == pytest.approx(math.log(2))


def test_features_climb_while_the_discriminator_descends() -> None:
    """One step of plain gradient descent on the same loss lowers it through the discriminator and raises it through the features."""
    discriminator, reverse = DomainDiscriminator(3, hidden=8), GradientReversal(1.0)
    source, target = torch.randn(16, 3), torch.randn(16, 3) + 1
    shift = torch.zeros(3, requires_grad=True)

    def loss() -> torch.Tensor:
        return domain_adversarial_loss(discriminator, reverse, source + shift, target)

    start = loss()
    weights = list(discriminator.parameters())
    of_shift, *of_weights = torch.autograd.grad(start, [shift, *weights])
    with torch.no_grad():
        shift -= 0.05 * of_shift
        assert loss() > start
        shift.zero_()
        for weight, gradient in zip(weights, of_weights, strict=True):
            weight.sub_(0.05 * gradient)
        assert loss() < start


def test_the_game_hides_the_domain() -> None:
    """Features x a + b: with b the domains can be told; after the game they cannot, also by a new discriminator."""
    source, target = torch.randn(128, 2), torch.randn(128, 2) + torch.tensor([3.0, 0.0])
    shift = torch.zeros(2, requires_grad=True)
    discriminator, reverse = DomainDiscriminator(2, hidden=16), GradientReversal(0.0)
    optimiser = torch.optim.Adam([{"params": [shift], "lr": 0.05}, {"params": discriminator.parameters(), "lr": 0.01}])
    for step in range(200):
        reverse.weight = dann_weight(step / 199)
        optimiser.zero_grad()
        domain_adversarial_loss(discriminator, reverse, source + shift, target).backward()
        optimiser.step()
    assert abs(shift[0].item() - 3) < 1
    assert abs(shift[1].item()) < 1


def test_wrong_features_are_refused() -> None:
    discriminator, reverse, good = DomainDiscriminator(3), GradientReversal(), torch.randn(4, 3)
    for bad in (torch.randn(4, 2), torch.randn(0, 3), torch.randn(3)):
        with pytest.raises(InputError, match=r"features \[N, D\] of the same D"):
            domain_adversarial_loss(discriminator, reverse, good, bad)
    with pytest.raises(InputError, match="not finite"):
        domain_adversarial_loss(discriminator, reverse, good, good * math.nan)
    with pytest.raises(InputError, match="1 or more"):
        DomainDiscriminator(0)
    assert not [m for m in discriminator.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
