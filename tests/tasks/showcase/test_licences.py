"""Only pictures that may be shown are shown, and each is credited."""

from __future__ import annotations

from pathlib import Path

import pytest

from umsrep.errors import InputError
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.showcase.licences import CREDITS, PERMITTED, attribution, credit, permitted


def table(column: str, licences: list[str], urls: list[str], dois: list[str] | None = None) -> Manifest:
    n = len(licences)
    columns = {"file_name": [f"{i}.png" for i in range(n)], column: licences, "url": urls, "doi": dois or [""] * n}
    return Manifest(Path("x"), Path("x/metadata.csv"), columns, list(range(2, n + 2)))


def test_rows_with_other_licences_are_left_out_and_counted() -> None:
    manifest = table("license", ["CC BY 4.0", "CC BY-NC 4.0", "CC BY 2.0", "CC BY-NC 4.0", "", "CC BY-ND 4.0", "CC BY-SA 4.0"], [""] * 7)
    kept, why = permitted("us_lung", manifest, range(7))
    assert kept == [0, 2]
    assert why == "5 of 7 rows may not be shown (2 CC BY-NC 4.0; 1 CC BY-ND 4.0; 1 CC BY-SA 4.0; 1 no licence)."
    assert permitted("us_lung", manifest, [0, 2]) == ([0, 2], "")


@pytest.mark.parametrize("host", ["radiopaedia.org", "www.radiopaedia.org"])
def test_a_site_with_terms_of_its_own_is_left_out_whatever_a_row_says(host: str) -> None:
    manifest = table("image_license", ["CC BY 4.0", "CC BY 4.0"], [f"https://{host}/cases/1", "https://example.org/radiopaedia.org"])
    kept, why = permitted("cxr_external", manifest, [0, 1])
    assert kept == [1]
    assert "1 CC BY 4.0, but from radiopaedia.org" in why
    with pytest.raises(InputError, match="may not be shown"):
        attribution("cxr_external", manifest, 0)


def test_a_picture_names_set_file_licence_and_the_first_source_there_is() -> None:
    manifest = table("license", ["CC BY 4.0", "CC BY 2.0"], ["contributed by N", "https://a.org"], ["", "https://doi.org/1"])
    first = {"set": "us_lung", "file": "0.png", "licence": "CC BY 4.0", "source": "contributed by N"}
    assert attribution("us_lung", manifest, 0) == first
    assert attribution("us_lung", manifest, 1)["source"] == "https://doi.org/1"
    assert attribution("cxr_nih", manifest, 1) == {"set": "cxr_nih", "file": "1.png", "licence": "no restrictions"}


def test_unknown_sets_and_missing_columns_are_refused() -> None:
    manifest = table("other", ["CC BY 4.0"], [""])
    with pytest.raises(InputError, match=r"no licence is known of the set 'us_lun'.*us_lung"):
        credit("us_lun")
    with pytest.raises(InputError, match="no column 'license'"):
        permitted("us_lung", manifest, [0])


def test_nothing_that_is_permitted_is_nc_nd_or_sa() -> None:
    assert not [name for name in PERMITTED if any(part in name for part in ("NC", "ND", "SA"))]
    assert {c.licence for c in CREDITS.values() if c.licence} <= set(PERMITTED)
