"""Classification head: logits from the embedding, thresholds that fit the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.conformance import check_head
from umsrep.errors import InputError
from umsrep.heads import ClassificationHead
from umsrep.zoo import Encoder, InputContract

SIZES: dict[str, Any] = {"channels": [8], "strides": [2], "in_channels": 1, "embedding_dim": 5}


@pytest.fixture(scope="module", params=["resnet18", "tf_efficientnet_lite0", "vit_tiny_patch16_224"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    """Encoders of three kinds, not to be changed."""
    return Encoder.create(request.param, contract=InputContract(size=64)).eval()


@pytest.mark.parametrize(
    "head",
    [
        lambda: ClassificationHead(["normal", "pneumonia"], thresholds=[0.3]),
        lambda: ClassificationHead(4, dropout=0.5),
        lambda: ClassificationHead(["left", "large"], multi_label=True, thresholds=[0.1, 0.9]),
        lambda: ClassificationHead(["finding"], multi_label=True),
    ],
)
def test_conformance(encoder: Encoder, head) -> None:
    check_head(head(), encoder)


def test_it_is_dropout_and_one_linear_layer() -> None:
    head = ClassificationHead(3, dropout=0.5)
    head.build(**SIZES)
    assert sum(p.numel() for p in head.parameters()) == 3 * 5 + 3
    x_BD = torch.randn(4, 5)
    linear = torch.nn.Linear(5, 3)
    linear.load_state_dict({k.removeprefix("layers.1."): v for k, v in head.state_dict().items()})
    assert torch.equal(head.eval()(x_BD), linear(x_BD))
    head.train()
    assert not torch.equal(head(x_BD), head(x_BD))


def test_without_dropout_training_is_deterministic() -> None:
    head = ClassificationHead(3, dropout=0)
    head.build(**SIZES)
    x_BD = torch.randn(4, 5)
    assert torch.equal(head.train()(x_BD), head.eval()(x_BD))


@pytest.mark.parametrize(
    ("classes", "multi_label", "thresholds"),
    [(2, False, [0.3]), (2, False, (0.0,)), (3, True, [0.1, 0.5, 1]), (1, True, [0.4]), (3, False, None), (3, False, [])],
)
def test_thresholds_that_fit(classes: int, multi_label: bool, thresholds: Sequence[float] | None) -> None:
    head = ClassificationHead(classes, multi_label=multi_label, thresholds=thresholds)
    assert head.thresholds == (tuple(thresholds) if thresholds else None)
    head.set_thresholds(None)
    assert head.thresholds is None
    assert head.args()["thresholds"] is None


@pytest.mark.parametrize(
    ("classes", "multi_label", "thresholds", "wanted"),
    [
        (2, False, [0.3, 0.7], 1),
        (3, False, [0.5], 0),
        (3, True, [0.5], 3),
        (2, False, [1.1], 1),
        (2, False, [-0.1], 1),
        (2, False, [float("nan")], 1),
    ],
)
def test_thresholds_that_do_not_fit_leave_the_old_ones(classes: int, multi_label: bool, thresholds: list[float], wanted: int) -> None:
    head = ClassificationHead(classes, multi_label=multi_label)
    old = None if wanted == 0 else [0.25] * wanted
    head.set_thresholds(old)
    with pytest.raises(InputError, match=f"{wanted} thresholds from 0 to 1 wanted"):
        head.set_thresholds(thresholds)
    assert head.args()["thresholds"] == old


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_impossible_dropout(dropout: float) -> None:
    with pytest.raises(InputError, match="dropout must be 0 or more and below 1"):
        ClassificationHead(2, dropout=dropout)


def test_one_class_needs_multi_label() -> None:
    with pytest.raises(InputError, match=r"two classes or more \(or multi_label\), not \['finding'\]"):
        ClassificationHead(["finding"])
