"""Deep CORAL and MMD: closed forms, the identities that define them, skada's implementations, and what is refused."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel
from torch import Tensor

from umsrep.errors import InputError
from umsrep.tasks.adapt import BANDWIDTH_FACTORS, deep_coral_loss, median_bandwidths, mmd_loss


def features(n: int, d: int = 6, *, scale: float = 1.0, shift: float = 0.0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, d, dtype=dtype) * scale + shift


@pytest.fixture(scope="module")
def skada() -> Any:
    """skada (BSD), in the extra `oracles`: it brings POT, skorch and pandas, too much for every environment of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the docstrings of POT, when Python first compiles them
        return pytest.importorskip("skada.deep.losses", reason="skada is not installed (pip install 'umsrep[oracles]')")


# ---- Deep CORAL ----------------------------------------------------------------------------------------------------
def test_coral_is_zero_for_equal_sets_and_blind_to_means() -> None:
    source = features(20)
    assert deep_coral_loss(source, source) == 0
    assert deep_coral_loss(source, source[torch.randperm(20)] + 7) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_coral_of_a_scaled_copy_has_a_closed_form(factor: float) -> None:
    """Ct = f^2 Cs, so the loss is (1 - f^2)^2 |Cs|^2 / (4 d^2)."""
    source = features(30, 5)
    expected = (1 - factor**2) ** 2 * torch.linalg.matrix_norm(torch.cov(source.T)).square() / (4 * 5**2)
    assert deep_coral_loss(source, factor * source + 2).item() == pytest.approx(expected.item(), rel=1e-12)


def test_coral_of_gaussians_tends_to_the_closed_form_of_their_covariances() -> None:
    """N(0, I) and N(1, 4 I) in d dimensions: |3 I|^2 / (4 d^2) = 9 / (4 d)."""
    d = 4
    loss = deep_coral_loss(features(40_000, d), features(40_000, d, scale=2, shift=1))
    assert loss.item() == pytest.approx(9 / (4 * d), rel=0.03)


def test_coral_divides_by_n_minus_one() -> None:
    """Two rows at +-1: variance 2 with n - 1, 1 with n; the other set has none."""
    source, target = torch.tensor([[1.0], [-1.0]]), torch.zeros(2, 1)
    assert deep_coral_loss(source, target) == pytest.approx(2**2 / 4)


def test_coral_equals_skada(skada: Any) -> None:
    source, target = features(16), features(11, scale=2)
    assert deep_coral_loss(source, target).item() == pytest.approx(skada.deepcoral_loss(source, target).item(), rel=1e-10)


# ---- MMD -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bandwidths", [0.7, [1.0], [0.5, 1.0, 4.0], None])
def test_mmd_is_zero_for_equal_sets_symmetric_and_never_negative(bandwidths: list[float] | float | None) -> None:
    source, target = features(12), features(12)
    assert mmd_loss(source, source, bandwidths) == 0
    assert mmd_loss(source, source[torch.randperm(12)], bandwidths) == pytest.approx(0, abs=1e-12)
    forward, backward = mmd_loss(source, target, bandwidths), mmd_loss(target, source, bandwidths)
    assert forward.item() == pytest.approx(backward.item())
    assert forward > 0


def test_mmd_of_two_points_is_the_kernel_itself() -> None:
    """k(s, s) = k(t, t) = 1 for each bandwidth, k(s, t) = exp(-25 / (2 sigma^2)) at distance 5."""
    source, target = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    for sigmas in ([2.0], [2.0, 5.0]):
        expected = sum(2 - 2 * math.exp(-25 / (2 * s**2)) for s in sigmas)
        assert mmd_loss(source, target, sigmas).item() == pytest.approx(expected)


def test_mmd_equals_the_kernels_of_scikit_learn() -> None:
    source, target, sigmas = features(9), features(14, shift=1), (0.5, 2.0)
    expected = 0.0
    for sigma in sigmas:
        ss, tt, st = (rbf_kernel(a, b, gamma=1 / (2 * sigma**2)).mean() for a, b in ((source, source), (target, target), (source, target)))
        expected += ss + tt - 2 * st
    assert mmd_loss(source, target, sigmas).item() == pytest.approx(expected, rel=1e-9)


def test_mmd_equals_skada_with_its_gaussian_kernel(skada: Any) -> None:
    """skada's `dan_loss` takes exp(-|x - y| / sigma), which is no Gaussian; its estimator with its Gaussian of sigma 1.5 is ours."""
    source, target = features(16), features(11, shift=0.5)
    expected = skada._maximum_mean_discrepancy(source, target, lambda a, b: skada._adj(a, b, "gauss"))
    assert mmd_loss(source, target, 1.5).item() == pytest.approx(expected.item(), rel=1e-9)


def test_mmd_of_gaussians_has_a_closed_form() -> None:
    """E k of N(0,1) and N(m,1) in one dimension: sigma / sqrt(sigma^2 + 2) exp(-m^2 / (2 (sigma^2 + 2)))."""
    sigma, m, n = 1.0, 1.5, 3000
    scale = sigma / math.sqrt(sigma**2 + 2)
    expected = 2 * scale * (1 - math.exp(-(m**2) / (2 * (sigma**2 + 2))))
    bias = 2 * (1 - scale) / n  # of the pairs of a row with itself
    assert mmd_loss(features(n, 1), features(n, 1, shift=m), sigma).item() == pytest.approx(expected + bias, abs=0.03)


def test_mmd_keeps_small_distances_of_features_far_from_zero_in_float32() -> None:
    source = features(8, dtype=torch.float32, scale=0.01)
    target = source + 0.02
    near, far = mmd_loss(source, target, 0.05), mmd_loss(source + 64, target + 64, 0.05)
    assert far.item() == pytest.approx(near.item(), rel=0.01)


def test_median_bandwidths_are_multiples_of_the_median_distance() -> None:
    line = torch.tensor([[0.0], [1.0], [3.0]])  # distances 1, 2, 3
    assert median_bandwidths(line[:1], line[1:]) == pytest.approx([2 * f for f in BANDWIDTH_FACTORS])
    assert median_bandwidths(torch.zeros(2, 3), torch.zeros(2, 3), [1.0]) == (1.0,)
    source, target = features(10), features(10, shift=1)
    for factor in (1.0, 100.0):  # the loss of scaled features is the same
        assert mmd_loss(factor * source, factor * target).item() == pytest.approx(mmd_loss(source, target).item())


# ---- both ----------------------------------------------------------------------------------------------------------
Loss = Any


@pytest.mark.parametrize("loss", [deep_coral_loss, lambda s, t: mmd_loss(s, t, [1.0, 2.0])])
def test_gradients_are_right_and_finite_for_equal_rows(loss: Loss) -> None:
    source, target = features(5, 3).requires_grad_(), features(4, 3, scale=2).requires_grad_()
    assert torch.autograd.gradcheck(loss, (source, target))
    same = features(4, 3)
    loss(first := same.clone().requires_grad_(), same).backward()
    assert first.grad is not None
    assert torch.isfinite(first.grad).all()


@pytest.mark.parametrize("loss", [deep_coral_loss, mmd_loss])
def test_training_on_the_loss_brings_the_domains_together(loss: Loss) -> None:
    source, target = features(64, scale=1.0), features(64, scale=2.0)
    factor = torch.ones(6, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([factor], lr=0.05)
    for _ in range(80):
        optimiser.zero_grad()
        loss(source * factor, target).backward()
        optimiser.step()
    assert loss(source * factor, target).item() < 0.5 * loss(source, target).item()
    assert ((factor > 1.3) & (factor < 2.6)).all()


@pytest.mark.parametrize("loss", [deep_coral_loss, mmd_loss])
def test_half_precision_is_computed_in_float32(loss: Loss) -> None:
    source, target = features(8, dtype=torch.float32) * 100, features(8, dtype=torch.float32) * 300
    value = loss(source.half(), target.half())
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(source.half().float(), target.half().float()).item(), rel=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(source, target).item() == pytest.approx(loss(source, target).item(), rel=1e-6)


@pytest.mark.parametrize("loss", [deep_coral_loss, mmd_loss])
def test_wrong_features_are_refused_by_name(loss: Loss) -> None:
    good = features(4)
    cases = [
        (features(4, 5), "source has 6 features and target 5"),
        (good[0], r"target must be float features \[N, D\].*\[6\]"),
        (good.reshape(4, 6, 1, 1), "pool maps first"),
        (good.long(), "torch.int64"),
        (good[:0], r"target has 0 row\(s\)"),
        (good.index_fill(0, torch.tensor(1), math.nan), "target features are NaN or infinite"),
        (good.index_fill(0, torch.tensor(1), math.inf), "target features are NaN or infinite"),
    ]
    for target, message in cases:
        with pytest.raises(InputError, match=message):
            loss(good, target)
    with pytest.raises(InputError, match="source and target features are NaN"):
        loss(good * math.nan, good * math.nan)


def test_one_row_has_no_covariance_but_a_kernel() -> None:
    with pytest.raises(InputError, match=r"source has 1 row\(s\) and needs 2 or more"):
        deep_coral_loss(features(1), features(4))
    assert torch.isfinite(mmd_loss(features(1), features(4), 1.0))


def test_an_overflow_is_said_to_be_one() -> None:
    with pytest.raises(InputError, match="too large"):
        deep_coral_loss(torch.full((2, 2), 1e30) * torch.tensor([[1.0], [-1.0]]), torch.zeros(2, 2))


@pytest.mark.parametrize("bandwidths", [[], [1.0, 0.0], -1.0, [math.nan], [math.inf]])
def test_bandwidths_that_are_none_are_refused(bandwidths: Any) -> None:
    with pytest.raises(InputError, match="bandwidths must be one or more numbers above 0"):
        mmd_loss(features(3), features(3), bandwidths)


def test_one_bandwidth_may_be_of_any_number_type() -> None:
    source, target = torch.randn(6, 3), torch.randn(5, 3)
    expected = mmd_loss(source, target, 2.0)
    some: list[Any] = [2, np.float32(2), np.array(2.0), torch.tensor(2.0), [2.0]]
    for bandwidth in some:
        assert torch.equal(mmd_loss(source, target, bandwidth), expected)
