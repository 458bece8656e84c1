"""What every score accepts and refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.zoo.transferability.sets import clusters, softmax
from umsrep.errors import InputError
from umsrep.zoo.transferability import FEATURE_SCORES, gbc, leep, nce
from umsrep.zoo.transferability.checks import as_codes, as_features, as_groups, as_questions

Score = Callable[..., float]
SEEDED = ("n_leep", "linear_probe")  # another order of rows draws other components and folds

every_score = pytest.mark.parametrize("score", FEATURE_SCORES.values(), ids=FEATURE_SCORES)


@every_score
def test_inputs_are_never_changed(score: Score) -> None:
    features, labels = clusters()
    before = features.copy(), labels.copy()
    features.setflags(write=False)
    labels.setflags(write=False)
    value = score(features, labels)
    assert type(value) is float
    np.testing.assert_array_equal(features, before[0])
    np.testing.assert_array_equal(labels, before[1])


@every_score
def test_types_of_features(score: Score) -> None:
    features, labels = clusters()
    whole = np.round(features * 8) / 8  # exact in float16
    expected = score(whole, labels)
    tensor = torch.tensor(whole, requires_grad=True)
    for other in (whole.astype(np.float16), whole.astype(np.float32), whole.tolist(), tensor, tensor.bfloat16(), np.asfortranarray(whole)):
        labels_like = torch.tensor(labels) if isinstance(other, torch.Tensor) else labels
        assert score(other, labels_like) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@every_score
def test_labels_of_any_kind(score: Score) -> None:
    features, labels = clusters()
    expected = score(features, labels)
    names = np.array(["benign", "malignant", "Verdacht auf"])
    kinds: list[Any] = [labels * 1000 - 7, names[labels], names[labels].tolist(), names[labels].astype(object), labels.astype(np.uint8)]
    kinds += [labels.astype(np.float32), [("left", "right", 3)[k] for k in labels], [f"{'x' * 300}{k}" for k in labels]]
    for kind in kinds:
        assert score(features, kind) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert score(features, labels > 0) == pytest.approx(score(features, (labels > 0).astype(int)), rel=1e-12)


@every_score
def test_order_of_rows_does_not_matter(score: Score) -> None:
    features, labels = clusters(90, apart=3)
    order = np.random.default_rng(1).permutation(len(labels))
    near = 0.2 if score.__name__ in SEEDED else 1e-9
    assert score(features[order], labels[order]) == pytest.approx(score(features, labels), rel=near, abs=near)


@every_score
def test_multi_label_is_the_mean_over_columns(score: Score) -> None:
    features, labels = clusters(80)
    matrix = np.stack([labels == 0, labels <= 1, features[:, 0] > 2], axis=1)
    value = score(features, matrix.astype(np.int8))
    assert value == score(features, torch.tensor(matrix))
    assert value == pytest.approx(np.mean([score(features, column[:, None]) for column in matrix.T]), rel=1e-9)


@every_score
@pytest.mark.parametrize(("rows", "columns"), [(20, 50), (12, 12), (50, 3), (60, 1)])
def test_any_shape(score: Score, rows: int, columns: int) -> None:
    features, labels = clusters(rows, columns)
    assert np.isfinite(score(features, labels))


@every_score
def test_one_sample_classes(score: Score) -> None:
    features, labels = clusters(60, classes=3)
    labels = np.concatenate([labels[:-2], [7, 9]])
    assert np.isfinite(score(features, labels))


@every_score
def test_more_classes_than_rows_can_show(score: Score) -> None:
    if score.__name__ in ("linear_probe", "n_leep"):  # a minute: see the slow test
        pytest.skip("slow")
    features, labels = clusters(1200, 4, classes=1000)
    assert np.isfinite(score(features, labels))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear_probe", "n_leep"])
def test_thousand_classes_slow(name: str) -> None:
    features, labels = clusters(2000, 4, classes=1000)
    assert np.isfinite(FEATURE_SCORES[name](features, labels))


@every_score
@pytest.mark.parametrize("value", [0.0, 0.1, -3e7])
def test_constant_features_know_nothing(score: Score, value: float) -> None:
    _, labels = clusters(60)
    constant = np.full((60, 5), value)
    known = {"h_score": 0, "regularized_h_score": 0, "n_leep": -np.log(3), "gbc": -6, "knn_accuracy": 1 / 3, "linear_probe": 1 / 3}
    if score.__name__ in known:
        assert score(constant, labels) == pytest.approx(known[score.__name__], abs=0.35 if "n" in score.__name__[:2] else 1e-9)
    else:
        assert np.isfinite(score(constant, labels))
    features, _ = clusters(60, 4)
    with_constants = np.concatenate([features, constant], axis=1)
    if score.__name__ != "log_me":  # where a constant column is an intercept, and helps
        assert score(with_constants, labels) == pytest.approx(score(features, labels), rel=0.15)


@every_score
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e101])
def test_nan_and_infinite_features_name_the_row(score: Score, wrong: float) -> None:
    features, labels = clusters()
    features[41, 5] = wrong
    with pytest.raises(InputError, match=r"row 41, column 5 \(counted from 0\) holds"):
        score(features, labels)


@every_score
def test_refusals(score: Score) -> None:
    features, labels = clusters()
    for wrong, message in [
        (features[0], r"shape \[8\]; \[N, D\]"),
        (features[:0], r"empty \(shape \[0, 8\]\)"),
        (features[:, :0], "empty"),
        (features.astype(complex), "complex128; real numbers"),
        (features.astype(str), "real numbers are needed"),
        ([[1.0], [1.0, 2.0]], "differ in length"),
    ]:
        with pytest.raises(InputError, match=message):
            score(wrong, labels)
    missing = labels.astype(float)
    missing[3] = np.nan
    matrix = np.eye(3)[labels]
    for wrong, message in [
        (labels[:-1], "labels have 59 rows, the features 60"),
        (labels * 0, "all 60 rows are of one class"),
        (missing, "row 3 .* has none"),
        ([None if k == 3 else "a" for k in range(60)], "row 3 .* has none"),
        (["" if k == 4 else "a" for k in range(60)], "row 4 .* has none"),
        ([[1, 2] if k else {} for k in range(60)], "differ in length|cannot be compared"),
        (labels.astype(complex), "complex128"),
        (matrix * 2, "multi-label"),
        (matrix[:-1], "59 rows"),
        (np.concatenate([matrix, np.zeros((60, 1))], axis=1), "column 3 .* is 0 in every row"),
    ]:
        with pytest.raises(InputError, match=message):
            score(features, wrong)
    with pytest.raises(InputError, match="not a class; log_me takes regression=True"):
        score(features, features[:, 0])


@pytest.mark.parametrize("score", [nce, leep])
def test_scores_of_source_classifiers_share_the_rules(score: Score) -> None:
    values, labels = clusters(columns=4)
    source: Any = softmax(values) if score is leep else values.argmax(axis=1)
    source.setflags(write=False)
    expected = score(source, labels)
    assert score(source, np.array(["a", "b", "c"])[labels]) == expected
    assert score(source.tolist(), torch.tensor(labels)) == expected
    assert score(source, np.eye(3, dtype=bool)[labels]) < 0
    with pytest.raises(InputError, match="rows"):
        score(source, labels[1:])
    with pytest.raises(InputError, match="one class"):
        score(source, labels * 0)
    with pytest.raises(InputError, match="empty"):
        score(source[:0], labels[:0])


def test_features_are_not_copied_when_they_need_not_be() -> None:
    features, _ = clusters()
    assert np.shares_memory(as_features(features), features)


def test_codes_are_dense() -> None:
    assert as_codes([5, -2, 5, 900], 4, "labels").tolist() == [1, 0, 1, 2]
    assert as_codes(["b", 3, "b"], 3, "labels").max() == 1
    assert [q.tolist() for q in as_questions([[1, 0], [0, 1]], 2)] == [[1, 0], [0, 1]]


def test_patients_without_a_name_are_their_own() -> None:
    assert as_groups(["p", None, "p", "", None], 5).tolist() == [0, 1, 0, 2, 3]
    assert as_groups(np.array([3, 3, 8]), 3).tolist() == [0, 0, 1]
    assert as_groups(None, 3).tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="groups have 2 rows, the features 3"):
        as_groups([1, 2], 3)


def test_a_message_names_a_near_option() -> None:
    with pytest.raises(InputError, match="did you mean 'diagonal'"):
        gbc(*clusters(), covariance="diag")  # type: ignore[arg-type]


def test_a_missing_label_among_texts_is_no_class() -> None:
    with pytest.raises(InputError, match="row 4"):
        as_codes(["a", "a", "b", "b", float("nan")], 5, "labels")
    assert as_groups(["a", float("nan"), float("nan"), "a"], 4).tolist() == [0, 1, 2, 0]
