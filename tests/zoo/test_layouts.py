"""The table of layouts says what it needs to."""

from __future__ import annotations

import re

import pytest

from umsrep.zoo.layouts import LAYOUTS


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_names_its_source_and_its_input(name: str) -> None:
    layout = LAYOUTS[name]
    assert layout.source
    assert (layout.mean is None) == (layout.std is None)
    assert layout.mean is None or layout.std is None or len(layout.mean) == len(layout.std)
    assert all(prefix == "" or prefix.endswith(".") for prefix in layout.prefixes)
    for pattern, new in layout.renames:
        assert re.sub(pattern, new, "") == "", "a rename takes hold of something"


def test_the_fourteen_and_inaturalist_are_covered() -> None:
    text = " ".join(layout.title for layout in LAYOUTS.values())
    names = (
        *("InsDis", "MoCo v1 and v2", "PCL v1 and v2", "PIRL", "SimCLR v1", "SimCLR v2", "SeLa-v2", "InfoMin", "BYOL"),
        *("DeepCluster-v2", "SwAV", "Barlow Twins", "iNaturalist"),
    )
    assert [name for name in names if name not in text] == []
