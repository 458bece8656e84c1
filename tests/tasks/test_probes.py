"""Linear probes: they find what is linear in the features, agree with scikit-learn, and say so where there is nothing to learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from umsrep.errors import InputError
from umsrep.tasks.probes import ABSENT, SHRINKAGES, STRENGTHS, ClassifierProbe, fit_classifier, fit_filter, fit_pixels


def blobs(classes: int, rows: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=rows)
    features = generator.normal(size=(rows, 8)).astype(np.float32)
    features[:, :classes] += 4 * np.eye(classes)[labels]
    features[:, 7] = 3.0  # constant
    return features, labels


def steepest(probe: ClassifierProbe) -> float:
    return float(np.abs(probe.weights).sum())


@pytest.mark.parametrize("classes", [2, 3])
def test_a_classifier_is_logistic_regression(classes: int) -> None:
    x, y = blobs(classes)
    probe = fit_classifier(x, y, classes, lambda _: 0.0)
    scaled = (x - x.mean(0, dtype=np.float64)) / np.where(x.std(0) > 0, x.std(0, dtype=np.float64), 1)
    expected = LogisticRegression(C=STRENGTHS[0], max_iter=2000).fit(scaled, y).predict_proba(scaled)
    found = torch.from_numpy(probe.logits(x)).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_judge_decides_and_equals_go_to_the_most_regular() -> None:
    x, y = blobs(2)
    flat = fit_classifier(x, y, 2, lambda _: 1.0)
    steep = fit_classifier(x, y, 2, steepest)
    assert np.abs(steep.weights).sum() > 10 * np.abs(flat.weights).sum()


def test_a_class_that_is_absent_is_never_chosen() -> None:
    x, y = blobs(2)
    probe = fit_classifier(x, np.where(y == 1, 2, 0), 3, steepest)
    logits = probe.logits(x)
    assert (logits[:, 1] == ABSENT).all()
    assert (logits.argmax(1) == np.where(y == 1, 2, 0)).mean() > 0.9


def test_several_labels_leave_out_what_is_not_annotated() -> None:
    x, y = blobs(2)
    both = np.stack([y, 1 - y], axis=1).astype(np.float64)
    both[::3, 0] = np.nan
    probe = fit_classifier(x, both, 2, steepest)
    known = ~np.isnan(both[:, 0])
    alone = fit_classifier(x, both[:, 1:], 1, steepest)
    np.testing.assert_allclose(probe.logits(x)[:, 1], alone.logits(x)[:, 0], atol=1e-9)
    assert ((probe.logits(x)[known, 0] > 0) == (both[known, 0] == 1)).mean() > 0.9


def test_one_class_is_nothing_to_learn_from() -> None:
    with pytest.raises(InputError, match=r"two classes among its 3 training row\(s\)"):
        fit_classifier(np.zeros((3, 2)), np.zeros(3, int), 2, lambda _: 0.0)
    with pytest.raises(InputError, match="two classes among the pixels"):
        fit_pixels([np.zeros((2, 3, 4, 4), np.float32)], np.zeros((2, 8, 8), np.uint8), 2, lambda _: 0.0)


def scenes(count: int = 12) -> tuple[list[np.ndarray], np.ndarray]:
    """Masks of three classes at 16 px, and levels at 16 and 8 px whose channels tell them, with noise."""
    generator = np.random.default_rng(1)
    masks = np.zeros((count, 16, 16), np.uint8)
    masks[:, 4:12, 2:9], masks[:, 6:10, 9:14] = 1, 2
    one_hot = np.eye(3)[masks].transpose(0, 3, 1, 2)
    fine = one_hot + generator.normal(0, 0.3, one_hot.shape)
    coarse = one_hot[:, :2, ::2, ::2] + generator.normal(0, 0.3, (count, 2, 8, 8))
    return [fine.astype(np.float32), coarse.astype(np.float32)], masks


def test_pixels_are_told_apart_by_discriminant_analysis() -> None:
    levels, masks = scenes()
    masks[0, :, 0] = 255
    probe = fit_pixels(levels, masks, 3, lambda _: 0.0)
    logits = probe.logits(levels, (16, 16))
    assert logits.shape == (12, 3, 16, 16)
    kept = masks != 255
    assert (logits.argmax(1).numpy() == masks)[kept].mean() > 0.97
    # the same as scikit-learn's, from all pixels (256 are drawn of 256) at this shrinkage
    coarse = torch.nn.functional.interpolate(torch.from_numpy(levels[1]), (16, 16), mode="bilinear", align_corners=False).numpy()
    points = np.concatenate([levels[0], coarse], axis=1).transpose(0, 2, 3, 1)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGES[0]).fit(points[kept], masks[kept])
    expected = theirs.predict_log_proba(points[kept])
    found = logits.log_softmax(1).numpy().transpose(0, 2, 3, 1)[kept]
    likely = expected > -20
    np.testing.assert_allclose(found[likely], expected[likely], atol=0.05)


def test_a_filter_gains_and_maps_that_know_the_edges_add_to_it() -> None:
    generator = np.random.default_rng(2)
    clean = np.zeros((10, 1, 32, 32), np.float32)
    for image in clean:
        y, x = generator.integers(4, 16, 2)
        image[0, y : y + 12, x : x + 12] = 0.8
    noisy = clean + generator.normal(0, 0.15, clean.shape).astype(np.float32)
    edge = np.abs(np.diff(clean, axis=2, append=0)) + np.abs(np.diff(clean, axis=3, append=0))

    def gain(levels: list[np.ndarray]) -> float:
        probe = fit_filter([level[:6] for level in levels], noisy[:6], clean[:6])
        out = probe.denoise([level[6:] for level in levels], noisy[6:]).numpy()
        return float(10 * np.log10(((noisy[6:] - clean[6:]) ** 2).mean() / ((out - clean[6:]) ** 2).mean()))

    noise: Any = generator.normal(size=(10, 4, 16, 16)).astype(np.float32)
    alone, useless, knowing = gain([noise[:, :1] * 0]), gain([noise]), gain([np.concatenate([edge, clean], axis=1)])
    assert alone > 3, "a linear filter smooths"
    assert useless > alone - 0.5, "noise costs little"
    assert knowing > alone + 2
