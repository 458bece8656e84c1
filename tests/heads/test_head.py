"""What every head shares: its description and its class names."""

from __future__ import annotations

import json

import pytest

from umsrep.errors import InputError
from umsrep.heads import HEADS, ClassificationHead, DenoisingHead, Head, SegmentationHead
from umsrep.heads.head import class_names


def test_the_registry_knows_each_head_by_its_kind() -> None:
    assert dict(HEADS) == {"denoising": DenoisingHead, "segmentation": SegmentationHead, "classification": ClassificationHead}
    assert all(kind == head.kind and issubclass(head, Head) for kind, head in HEADS.items())


def test_the_base_is_no_head() -> None:
    with pytest.raises(InputError, match="Head is no concrete head: use DenoisingHead"):
        Head().args()
    with pytest.raises(InputError, match="Head is no concrete head"):
        Head().build(channels=[8], strides=[2], in_channels=1, embedding_dim=8)


@pytest.mark.parametrize("head", [DenoisingHead(), SegmentationHead(2), ClassificationHead(2)])
def test_an_unbuilt_head_is_described_in_json_without_weights(head: Head) -> None:
    assert not head.built
    assert not list(head.parameters())
    assert type(head)(**json.loads(json.dumps(head.args()))).args() == head.args()


@pytest.mark.parametrize(
    ("classes", "names"),
    [(3, ("0", "1", "2")), (["a", "b"], ("a", "b")), (("lung",), ("lung",)), ([0, 1], ("0", "1"))],
)
def test_class_names(classes: int | list[str], names: tuple[str, ...]) -> None:
    assert class_names(classes) == names


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (0, "needs one class or more"),
        (-2, "needs one class or more"),
        ([], "needs one class or more"),
        (["a", "a"], "must differ and not be empty"),
        (["a", ""], "must differ and not be empty"),
        ("lung", "lung"),  # a bare string is one name forgotten in brackets, not four one-letter classes
    ],
)
def test_wrong_class_names(classes: int | list[str] | str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        class_names(classes)
