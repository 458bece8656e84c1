"""Windows, tables, rescale, units and spacing against values worked out by hand from PS3.3, and against pydicom's own functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.pixels.processing import apply_windowing

from umsrep.errors import InputError
from umsrep.zoo.dicom_values import (
    apply_window,
    display_rule,
    is_hounsfield,
    look_up_table,
    pixel_spacing,
    rescale,
    rescaled_range,
)


def elements(**values: Any) -> Dataset:
    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


# ---- windows: C.11.2.1.2.1 gives the first two examples in its note --------------------------------------------------
@pytest.mark.parametrize(
    ("function", "centre", "width", "values"),
    [
        ("LINEAR", 2048, 4096, {0: 0.0, 4095: 1.0, -5: 0.0, 5000: 1.0, 819: 0.2}),  # the full 12 bits
        ("LINEAR", 2048, 1, {2047: 0.0, 2048: 1.0}),  # a threshold
        ("LINEAR", 0, 100, {-50: 0.0, 49: 1.0, -49.5: 0.5 / 99, 0: 50 / 99}),
        ("LINEAR", 0, 1, {-1: 0.0, 0: 1.0}),
        ("LINEAR_EXACT", 2048, 4096, {0: 0.0, 4096: 1.0, 1024: 0.25, 3072: 0.75}),
        ("LINEAR_EXACT", 0.5, 0.5, {0.25: 0.0, 0.5: 0.5, 0.75: 1.0, 2: 1.0}),
        ("SIGMOID", 100, 40, {100: 0.5, 120: 1 / (1 + math.exp(-2)), 60: 1 / (1 + math.exp(4)), -1e6: 0.0, 1e6: 1.0}),
    ],
)
def test_window_functions(function: str, centre: float, width: float, values: dict[float, float]) -> None:
    shown = apply_window(np.array(list(values), dtype=np.float64), centre=centre, width=width, function=function, name="a")
    assert shown.dtype == np.float32
    assert shown.tolist() == pytest.approx(list(values.values()), abs=1e-7)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(40, 400), (-600.5, 1500), (7, 2)])
def test_windows_agree_with_pydicom(function: str, centre: float, width: float) -> None:
    pixels = np.arange(-1024, 1024).reshape(32, 64) if width > 2 else np.arange(-64, 64).reshape(8, 16)  # pydicom overflows beyond
    data = elements(WindowCenter=centre, WindowWidth=width, VOILUTFunction=function, BitsStored=16, PixelRepresentation=0)
    data.PhotometricInterpretation = "MONOCHROME2"
    theirs = apply_windowing(pixels, data) / 65535
    rule = display_rule(data, True, "a")
    assert rule is not None
    assert np.abs(rule(pixels) - theirs).max() < 1e-6


def test_the_first_of_several_windows_and_defaults() -> None:
    data = elements(WindowCenter=[10, 500], WindowWidth=[21, 100])
    rule = display_rule(data, True, "a")
    assert rule is not None
    assert rule(np.array([0, 9.5, 19])).tolist() == pytest.approx([0.025, 0.5, 0.975], abs=0.0255)
    assert rule(np.array([-1, -0.5, 9.5, 19.5])).tolist() == pytest.approx([0, 0, 0.5, 1])
    assert display_rule(elements(WindowCenter=10), True, "a") is None
    assert display_rule(elements(), True, "a") is None


@pytest.mark.parametrize(("function", "width"), [("LINEAR", 0), ("LINEAR", 0.5), ("LINEAR_EXACT", 0), ("SIGMOID", -1), ("CUBIC", 10)])
def test_an_impossible_window_is_an_error_only_when_it_is_used(function: str, width: float) -> None:
    rule = display_rule(elements(WindowCenter=10, WindowWidth=width, VOILUTFunction=function), True, "a.dcm")
    assert rule is not None
    with pytest.raises(InputError, match=r"^a\.dcm: its .*; give the contract a window$"):
        rule(np.zeros((8, 8)))


# ---- tables ----------------------------------------------------------------------------------------------------------
def table(data: Any, first: int, bits: int, count: int | None = None, vr: str = "US") -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(data) if count is None else count, first % 65536, bits])
    item.add_new("LUTData", vr, data)
    return item


def test_tables_hold_their_ends() -> None:
    look_up = look_up_table(table([5, 6, 9], 100, 8), signed=False)
    assert look_up(np.array([-7, 0, 99, 100, 101, 102, 103, 60000])).tolist() == [5, 5, 5, 5, 6, 9, 9, 9]
    assert look_up(np.array([100.4, 100.6])).tolist() == [5, 6]


def test_the_first_mapped_value_may_be_negative() -> None:
    item = table([5, 6, 9], -1, 8)
    assert look_up_table(item, signed=True)(np.array([-2, -1, 0, 1, 2])).tolist() == [5, 5, 6, 9, 9]
    assert look_up_table(item, signed=False).first == 65535


def test_tables_stored_as_words_or_bytes() -> None:
    words = np.array([1, 300, 4095], dtype="<u2")
    assert look_up_table(table(words.tobytes(), 0, 12, 3, "OW"), False).entries.tolist() == [1, 300, 4095]
    assert look_up_table(table(bytes([1, 2, 255, 0]), 0, 8, 3, "OW"), False).entries.tolist() == [1, 2, 255]
    full = np.arange(65536, dtype="<u2")
    assert len(look_up_table(table(full.tobytes(), 0, 16, 0, "OW"), False).entries) == 65536


@pytest.mark.parametrize(("data", "bits", "count"), [([1, 2], 8, 3), ([1, 256], 8, 2), ([1, 2], 0, 2), ([1, 2], 17, 2)])
def test_contradictory_tables_are_refused(data: list[int], bits: int, count: int) -> None:
    with pytest.raises(ValueError, match="look-up table"):
        look_up_table(table(data, 0, bits, count), False)


def test_a_voi_table_comes_before_the_window_and_its_full_scale_is_one() -> None:
    data = elements(VOILUTSequence=[table([0, 1023, 4095], 0, 12)], WindowCenter=10, WindowWidth=20)
    rule = display_rule(data, False, "a")
    assert rule is not None
    assert rule(np.array([0, 1, 2, 3])).tolist() == pytest.approx([0, 1023 / 4095, 1, 1])


# ---- rescale and units -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("slope", "intercept", "dtype", "values"),
    [
        (1, 0, np.uint16, [0, 1, 4095]),
        (1, -1024, np.int32, [-1024, -1023, 3071]),
        (-2, 10, np.int32, [10, 8, -8180]),
        (0.5, 0.25, np.float32, [0.25, 0.75, 2047.75]),
    ],
)
def test_rescale(slope: float, intercept: float, dtype: Any, values: list[float]) -> None:
    data = elements(RescaleSlope=slope, RescaleIntercept=intercept)
    scaled = rescale(np.array([0, 1, 4095], np.uint16), data)
    assert scaled.dtype == dtype
    assert scaled.tolist() == values
    assert rescaled_range(0, 4095, data) == (min(values), max(values))


def test_rescale_without_room_in_int32_and_impossible_slopes() -> None:
    assert rescale(np.array([2**31], np.uint32), elements(RescaleSlope=2, RescaleIntercept=0)).tolist() == [2.0**32]
    assert rescale(np.array([1, 2], np.float32), elements(RescaleSlope=2)).tolist() == [2, 4]
    for slope in (0, math.inf, math.nan):
        data = Dataset()
        data.add_new("RescaleSlope", "FD", slope)
        with pytest.raises(ValueError, match="rescale"):
            rescale(np.zeros(3), data)


@pytest.mark.parametrize(
    ("hounsfield", "values"),
    [
        (True, {"RescaleType": "HU"}),
        (True, {"Modality": "CT"}),
        (True, {"Modality": "CT", "RescaleType": "", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}),
        (False, {"Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
        (True, {"Modality": "CT", "RescaleType": "HU", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
        (False, {"Modality": "CT", "RescaleType": "US"}),
        (False, {"Modality": "CT", "RescaleSlope": None}),
        (False, {"Modality": "PT"}),
    ],
)
def test_hounsfield_units(hounsfield: bool, values: dict[str, Any]) -> None:
    data = elements(**({"RescaleSlope": 1, "RescaleIntercept": -1024} | values))
    assert is_hounsfield(data) is hounsfield


# ---- spacing ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("spacing", "values"),
    [
        ((0.2, 0.3), {"PixelSpacing": [0.2, 0.3], "ImagerPixelSpacing": [1, 1]}),
        ((0.1, 0.4), {"ImagerPixelSpacing": [0.1, 0.4], "NominalScannedPixelSpacing": [1, 1]}),
        ((0.5, 0.5), {"NominalScannedPixelSpacing": [0.5, 0.5]}),
        (None, {}),
        (None, {"PixelSpacing": [0, 1]}),
        (None, {"PixelSpacing": "0.3"}),
    ],
)
def test_spacing_in_order_of_meaning(spacing: Any, values: dict[str, Any]) -> None:
    assert pixel_spacing(elements(**values)) == spacing


def test_ultrasound_regions_give_a_spacing_where_they_agree() -> None:
    def region(**changes: Any) -> Dataset:
        return elements(
            **({"PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3, "PhysicalDeltaX": 0.02, "PhysicalDeltaY": -0.03} | changes)
        )

    assert pixel_spacing(elements(SequenceOfUltrasoundRegions=[region()])) == pytest.approx((0.3, 0.2))
    assert pixel_spacing(elements(SequenceOfUltrasoundRegions=[region(), region()])) == pytest.approx((0.3, 0.2))
    assert pixel_spacing(elements(SequenceOfUltrasoundRegions=[region(), region(PhysicalDeltaX=0.05)])) is None
    assert pixel_spacing(elements(SequenceOfUltrasoundRegions=[region(), region(PhysicalUnitsXDirection=4)])) is None
