from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch.nn import functional as F

from umsrep.errors import InputError
from umsrep.tasks.classification import Classification, balanced_class_weights, choose_thresholds

NAN = float("nan")


def binary_rows(n: int = 200, seed: int = 0, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    target = random.integers(0, 2, n)
    score = np.clip(random.normal(0.35 + 0.25 * target, 0.2), 0, 1)
    score = score.round(1) if ties else score
    return np.stack([1 - score, score], 1), target


def multi_label_rows(n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    target = (random.random((n, 3)) < [0.5, 0.2, 0.7]).astype(np.float64)
    probabilities = np.clip(0.3 + 0.3 * target + random.normal(0, 0.25, (n, 3)), 0, 1)
    target[random.random((n, 3)) < 0.3] = np.nan
    return probabilities, target


@pytest.mark.parametrize("ties", [False, True])
def test_binary_metrics_equal_scikit_learn(ties: bool) -> None:
    probabilities, target = binary_rows(ties=ties)
    score = probabilities[:, 1]
    task = Classification(["normal", "pneumonia"], specificity=0.9)
    summary = task.summarise({"probabilities": probabilities, "target": target}, thresholds=[0.4])
    chosen = score >= 0.4
    fpr, tpr, _ = metrics.roc_curve(target, score, drop_intermediate=False)
    expected = {
        "auroc": metrics.roc_auc_score(target, score),
        "average_precision": metrics.average_precision_score(target, score),
        "sensitivity_at_specificity": tpr[fpr <= 0.1 + 1e-9].max(),
        "balanced_accuracy": metrics.balanced_accuracy_score(target, chosen),
        "f1": metrics.f1_score(target, chosen),
        "accuracy": metrics.accuracy_score(target, chosen),
    }
    assert summary == pytest.approx(expected, abs=1e-6)
    assert task.score(summary) == summary["auroc"]


@pytest.mark.parametrize("negatives", [20, 40, 60, 100, 140])
def test_sensitivity_is_read_at_exactly_the_specificity(negatives: int) -> None:
    """With 5 % of the negatives above every positive but one, specificity 0.95 just admits the rest: no rounding off."""
    false = negatives // 20
    score = np.concatenate([np.linspace(0.8, 0.9, false), np.linspace(0, 0.5, negatives - false), [0.95], np.linspace(0.6, 0.7, 9)])
    target = np.array([0] * negatives + [1] * 10)
    rows = {"probabilities": np.stack([1 - score, score], 1), "target": target}
    classes = ["no", "yes"]
    assert Classification(classes, specificity=0.95).summarise(rows)["sensitivity_at_specificity"] == 1.0
    stricter = Classification(classes, specificity=0.96 if negatives < 100 else 0.955).summarise(rows)
    assert stricter["sensitivity_at_specificity"] == pytest.approx(0.1)


def test_multi_class_metrics_equal_scikit_learn() -> None:
    random = np.random.default_rng(0)
    target = random.integers(0, 4, 150)
    logits = random.normal(size=(150, 4)) + 1.5 * np.eye(4)[target]
    task = Classification(["a", "b", "c", "d"])
    rows = task.rows(torch.from_numpy(logits), torch.from_numpy(target))
    summary = task.summarise(rows, thresholds=[])
    chosen = logits.argmax(1)
    assert summary["auroc"] == pytest.approx(metrics.roc_auc_score(target, rows["probabilities"], multi_class="ovr"), abs=1e-6)
    assert summary["average_precision"] == pytest.approx(
        metrics.average_precision_score(np.eye(4)[target], rows["probabilities"]), abs=1e-6
    )
    assert summary["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(target, chosen))
    assert summary["f1"] == pytest.approx(metrics.f1_score(target, chosen, average="macro"))
    assert summary["accuracy"] == pytest.approx(metrics.accuracy_score(target, chosen))


def test_multi_label_metrics_leave_nan_labels_out() -> None:
    probabilities, target = multi_label_rows()
    task = Classification(["x", "y", "z"], multi_label=True)
    summary = task.summarise({"probabilities": probabilities, "target": target}, thresholds=[0.3, 0.5, 0.6])
    per_label: dict[str, list[float]] = {"auroc": [], "balanced_accuracy": [], "f1": []}
    right = []
    for k, threshold in enumerate([0.3, 0.5, 0.6]):
        known = ~np.isnan(target[:, k])
        truth, score = target[known, k], probabilities[known, k]
        per_label["auroc"].append(metrics.roc_auc_score(truth, score))
        per_label["balanced_accuracy"].append(metrics.balanced_accuracy_score(truth, score >= threshold))
        per_label["f1"].append(metrics.f1_score(truth, score >= threshold))
        right.append((score >= threshold) == truth)
        assert summary[f"auroc/{'xyz'[k]}"] == pytest.approx(per_label["auroc"][k], abs=1e-6)
    for name, values in per_label.items():
        assert summary[name] == pytest.approx(np.mean(values), abs=1e-6)
    assert summary["accuracy"] == pytest.approx(np.concatenate(right).mean())


def test_labels_with_one_outcome_are_left_out_of_the_mean() -> None:
    probabilities, target = multi_label_rows()
    target[:, 1] = np.where(np.isnan(target[:, 1]), np.nan, 0.0)
    target[:, 2] = np.nan
    summary = Classification(["x", "y", "z"], multi_label=True).summarise({"probabilities": probabilities, "target": target})
    assert math.isnan(summary["auroc/y"])
    assert math.isnan(summary["auroc/z"])
    assert summary["auroc"] == summary["auroc/x"]
    assert math.isfinite(summary["accuracy"])


def test_one_outcome_only_is_nan_and_selection_falls_back_to_accuracy() -> None:
    task = Classification(["no", "yes"])
    summary = task.summarise({"probabilities": np.array([[0.2, 0.8], [0.7, 0.3]]), "target": np.array([1, 1])})
    assert all(math.isnan(summary[name]) for name in ("auroc", "average_precision", "f1", "balanced_accuracy"))
    assert task.score(summary) == summary["accuracy"] == 0.5


@pytest.mark.parametrize("classes", [["no", "yes"], ["a", "b", "c"]])
def test_no_rows_and_diverged_rows_are_nan_not_a_crash(classes: list[str]) -> None:
    k = len(classes)
    task = Classification(classes)
    empty = task.rows(torch.zeros(0, k), torch.zeros(0, dtype=torch.int64))
    broken = task.rows(torch.full((4, k), NAN), torch.tensor([0, 1, 0, 1]))
    for rows in (empty, broken):
        summary = task.summarise(rows)
        assert all(math.isnan(value) for value in summary.values())
        assert math.isnan(task.score(summary))


def test_rows_keep_the_order_of_confident_scores() -> None:
    logits = torch.tensor([[0.0, 18.0], [0.0, 20.0], [0.0, 25.0]])  # all are 1.0 in float32
    rows = Classification(["no", "yes"]).rows(logits, torch.tensor([0, 1, 1]))
    assert np.all(np.diff(rows["probabilities"][:, 1]) > 0)
    assert Classification(["no", "yes"]).summarise(rows)["auroc"] == 1.0


def test_rows_of_multi_label_are_sigmoids_and_keep_nan() -> None:
    rows = Classification(["x", "y"], multi_label=True).rows(torch.tensor([[0.0, 2.0]]), torch.tensor([[NAN, 1.0]]))
    np.testing.assert_allclose(rows["probabilities"], [[0.5, 1 / (1 + math.exp(-2))]])
    np.testing.assert_array_equal(rows["target"], [[np.nan, 1.0]])


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 2.0)])
def test_loss_of_a_batch_is_the_concatenation_of_its_rows(multi_label: bool, weights: tuple[float, ...] | None) -> None:
    source = torch.Generator().manual_seed(0)
    task = Classification(["a", "b", "c"], multi_label, class_weights=weights, label_smoothing=0.1)
    logits = torch.randn(6, 3, generator=source)
    target = torch.randint(0, 2, (6, 3), generator=source).float() if multi_label else torch.randint(0, 3, (6,), generator=source)
    if multi_label:
        target[1], target[2, 0] = NAN, NAN
    whole = task.loss(logits, target)
    assert whole.shape == (6,)
    assert whole.dtype == torch.float32
    torch.testing.assert_close(whole, torch.cat([task.loss(logits[i : i + 1], target[i : i + 1]) for i in range(6)]))


def test_single_label_loss_by_hand() -> None:
    logits, target = torch.tensor([[1.0, 3.0, -2.0], [0.0, 0.0, 0.0]]), torch.tensor([1, 2])
    log_p = logits.log_softmax(1)
    plain = torch.stack([-log_p[0, 1], -log_p[1, 2]])
    torch.testing.assert_close(Classification(["a", "b", "c"]).loss(logits, target), plain)
    weighted = Classification(["a", "b", "c"], class_weights=[1, 2, 5]).loss(logits, target)
    torch.testing.assert_close(weighted, plain * torch.tensor([2.0, 5.0]))
    smooth = Classification(["a", "b", "c"], class_weights=[1, 2, 5], label_smoothing=0.3).loss(logits, target)
    torch.testing.assert_close(smooth, (0.7 * plain - 0.3 * log_p.mean(1)) * torch.tensor([2.0, 5.0]))


def test_multi_label_loss_is_the_mean_over_annotated_labels() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [1.0, 1.0, 1.0]], requires_grad=True)
    target = torch.tensor([[1.0, NAN, 0.0], [NAN, NAN, NAN]])
    loss = Classification(["a", "b", "c"], multi_label=True, class_weights=[3, 1, 7]).loss(logits, target)
    expected = (3 * math.log(1 + math.exp(-2)) + math.log(1 + math.exp(0.5))) / 2  # the weight 7 is for positives of c
    assert float(loss[0].detach()) == pytest.approx(expected, rel=1e-5)
    assert float(loss[1].detach()) == 0
    loss.sum().backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
    assert bool((logits.grad[1] == 0).all())
    assert logits.grad[0, 1] == 0
    assert logits.grad[0, 0] != 0


def test_multi_label_smoothing_moves_both_targets_towards_one_half() -> None:
    logits, target = torch.tensor([[0.7, -1.2]]), torch.tensor([[1.0, 0.0]])
    loss = Classification(["a", "b"], multi_label=True, label_smoothing=0.2).loss(logits, target)
    p = logits.sigmoid()
    by_hand = -(0.9 * p[0, 0].log() + 0.1 * (1 - p[0, 0]).log() + 0.1 * p[0, 1].log() + 0.9 * (1 - p[0, 1]).log()) / 2
    torch.testing.assert_close(loss[0], by_hand)


def test_multi_label_weights_equal_torch_pos_weight() -> None:
    source = torch.Generator().manual_seed(0)
    logits, target = torch.randn(5, 2, generator=source), torch.randint(0, 2, (5, 2), generator=source).float()
    weights = torch.tensor([2.0, 0.5])
    reference = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weights, reduction="none").mean(1)
    torch.testing.assert_close(Classification(["a", "b"], True, class_weights=[2.0, 0.5]).loss(logits, target), reference)


@pytest.mark.parametrize("multi_label", [False, True])
def test_saturated_logits_have_finite_gradients(multi_label: bool) -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    target = torch.tensor([[0.0, 1.0], [NAN, 1.0]]) if multi_label else torch.tensor([1, 1])
    loss = Classification(["a", "b"], multi_label, label_smoothing=0.1).loss(logits, target)
    loss.sum().backward()
    assert bool(loss.isfinite().all())
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def brute_force(score: np.ndarray, truth: np.ndarray) -> float:
    """Best balanced accuracy of any threshold."""
    candidates = np.unique(np.concatenate([score, score + 1e-9, [0.0, 1.1]]))
    return float(max(metrics.balanced_accuracy_score(truth, score >= t) for t in candidates))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ties", [False, True])
def test_threshold_is_the_best_by_brute_force(seed: int, ties: bool) -> None:
    probabilities, target = binary_rows(40, seed, ties)
    (threshold,) = choose_thresholds(probabilities, target)
    score = probabilities[:, 1]
    assert metrics.balanced_accuracy_score(target, score >= threshold) == pytest.approx(brute_force(score, target))
    below, above = score[score < threshold].max(initial=0.0), score[score >= threshold].min(initial=1.0)
    assert threshold == pytest.approx((below + above) / 2)


def test_multi_label_thresholds_are_each_labels_own() -> None:
    probabilities, target = multi_label_rows()
    thresholds = choose_thresholds(probabilities, target)
    assert len(thresholds) == 3
    for k, threshold in enumerate(thresholds):
        known = ~np.isnan(target[:, k])
        truth, score = target[known, k], probabilities[known, k]
        assert metrics.balanced_accuracy_score(truth, score >= threshold) == pytest.approx(brute_force(score, truth))
    task = Classification(["x", "y", "z"], multi_label=True)
    rows = {"probabilities": probabilities, "target": target}
    assert task.summarise(rows, thresholds)["balanced_accuracy"] >= task.summarise(rows)["balanced_accuracy"]


@pytest.mark.parametrize(
    ("score", "truth", "expected"),
    [
        ([0.1, 0.2, 0.6, 0.9], [0, 0, 1, 1], 0.4),
        ([0.1, 0.3, 0.4, 0.8], [0, 1, 0, 1], 0.6),  # 0.2 is as good, 0.6 is nearer 0.5
        ([0.9, 0.8, 0.3, 0.2], [0, 0, 1, 1], 0.1),  # worse than chance: no split (0.95 would do it too, but is further)
        ([0.3, 0.3], [0, 1], 0.65),  # one score: 0.15 or 0.65
        ([0.7, 0.9], [1, 1], 0.5),  # one outcome
        ([0.0, 1.0], [1, 0], 0.0),  # backwards at the ends: only "all positive" is left
    ],
)
def test_thresholds_by_hand(score: list[float], truth: list[int], expected: float) -> None:
    probabilities = np.stack([1 - np.array(score), np.array(score)], 1)
    (threshold,) = choose_thresholds(probabilities, np.array(truth))
    assert threshold == pytest.approx(expected)


def test_neighbouring_floats_still_split() -> None:
    low = 0.7
    high = np.nextafter(low, 1.0)
    (threshold,) = choose_thresholds(np.array([[0.3, low], [0.3, high]]), np.array([0, 1]))
    assert low < threshold <= high


def test_more_than_two_classes_have_no_threshold() -> None:
    assert choose_thresholds(np.full((4, 3), 1 / 3), np.array([0, 1, 2, 0])) == []


def test_balanced_weights_have_mean_one_over_the_rows() -> None:
    counts = [1349, 3883, 12]
    weights = balanced_class_weights(counts)
    assert np.average(weights, weights=counts) == pytest.approx(1.0)
    assert len({round(w * n, 6) for w, n in zip(weights, counts, strict=True)}) == 1
    assert balanced_class_weights([10, 0, 10]) == [1.0, 1.0, 1.0]
    with pytest.raises(InputError, match="not all zero"):
        balanced_class_weights([0, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ["a", "a"]}, "duplicate class name 'a'"),
        ({"classes": ["a"]}, "at least 2"),
        ({"classes": ["a", 1]}, "non-empty strings, got 1"),
        ({"classes": ["a", "b"], "class_weights": [1, 2, 3]}, r"3 value\(s\), but there are 2 classes: a, b"),
        ({"classes": ["a", "b"], "class_weights": [0, 0]}, "not all zero"),
        ({"classes": ["a", "b"], "label_smoothing": 1.0}, r"\[0, 1\)"),
        ({"classes": ["a", "b"], "label_smoothing": -0.1}, r"\[0, 1\)"),
        ({"classes": ["a", "b"], "specificity": 95}, "write 95 % as 0.95"),
    ],
)
def test_bad_configuration_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Classification(**arguments)


def test_wrong_shapes_and_threshold_counts_are_refused() -> None:
    task = Classification(["a", "b"])
    with pytest.raises(ValueError, match="needs"):
        task.loss(torch.zeros(3, 3), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="needs"):
        task.loss(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(InputError, match="needs 1"):
        task.summarise({"probabilities": np.full((2, 2), 0.5), "target": np.array([0, 1])}, thresholds=[0.5, 0.5])


# ---- spectral decoupling -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [{}, {"class_weights": [1.0, 3.0, 0.5]}, {"label_smoothing": 0.2}])
def test_spectral_decoupling_adds_lambda_times_the_logits_to_the_gradient(options: dict[str, Any]) -> None:
    source = torch.Generator().manual_seed(0)
    logits, target = 4 * torch.randn(6, 3, generator=source), torch.randint(0, 3, (6,), generator=source)
    gradients, losses = [], []
    for penalty in (0.0, 0.3):
        leaf = logits.clone().requires_grad_()
        loss = Classification(["a", "b", "c"], spectral_decoupling=penalty, **options).loss(leaf, target)
        loss.sum().backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad)
        losses.append(loss.detach())
    assert torch.allclose(gradients[1] - gradients[0], 0.3 * logits, atol=1e-5)
    assert torch.allclose(losses[1] - losses[0], 0.15 * logits.square().sum(1), atol=1e-5)


def test_spectral_decoupling_of_labels_counts_only_annotated_ones() -> None:
    logits = torch.tensor([[3.0, -2.0, 5.0], [1.0, 1.0, 1.0]], requires_grad=True)
    target = torch.tensor([[1.0, 0.0, NAN], [NAN, NAN, NAN]])
    with_, without = (Classification(["a", "b", "c"], multi_label=True, spectral_decoupling=p) for p in (0.2, 0.0))
    difference = with_.loss(logits, target) - without.loss(logits, target)
    assert difference.tolist() == pytest.approx([0.1 * (9 + 4) / 2, 0])
    difference.sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [pytest.approx([0.3, -0.2, 0]), [0, 0, 0]]


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_impossible_spectral_decoupling_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="spectral_decoupling"):
        Classification(["a", "b"], spectral_decoupling=value)
