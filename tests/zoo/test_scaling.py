"""The rules of a contract: equal content gives equal tensors, a broken rule is named, and what lenient bends."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom.uid import CTImageStorage

from tests.dicoms import write_dicom
from umsrep.zoo import InputContract
from umsrep.zoo.input_contract import ContractError, ContractWarning
from umsrep.zoo.scaling import broken, grey_of, match_channels, scale
from umsrep.zoo.stored import Stored

UNIT = InputContract(mean=0.0, std=1.0)
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
DEEP = np.linspace(0, 4095, 256).round().astype(np.uint16).reshape(16, 16)


def refused(contract: InputContract, source: Any, rule: str, message: str, **options: Any) -> None:
    """Check that loading breaks this rule, in one line that names it."""
    with pytest.raises(ContractError, match=message) as caught:
        contract.load(source, **options)
    assert caught.value.rule == rule
    assert f"contract rule '{rule}': " in str(caught.value)
    assert "\n" not in str(caught.value)


def bent(contract: InputContract, source: Any, message: str) -> torch.Tensor:
    """Load leniently, and check the one warning."""
    with pytest.warns(ContractWarning, match=message) as caught:
        loaded = contract.load(source, lenient=True)
    assert len(caught) == 1
    assert float(loaded.min()) >= 0
    assert float(loaded.max()) <= 1
    return loaded


# ---- equal content, equal tensors ------------------------------------------------------------------------------------
def test_the_same_eight_bit_picture_loads_bitwise_equal_however_stored(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", RAMP)
    files: list[Any] = [tmp_path / "a.png", tmp_path / "a.npy", Image.fromarray(RAMP), np.stack([RAMP] * 3, axis=2)]
    files.append(write_dicom(tmp_path / "a.dcm", RAMP, 8))
    files.append(write_dicom(tmp_path / "inverted.dcm", 255 - RAMP, 8, PhotometricInterpretation="MONOCHROME1"))
    files.append(write_dicom(tmp_path / "moved.dcm", RAMP, 8, RescaleIntercept="-100", RescaleSlope="1"))
    for contract in (UNIT, InputContract(size=(11, 24), mean=0.3, std=0.7), InputContract(channels=3)):
        wanted = contract.load(RAMP)
        for file in files:
            assert torch.equal(contract.load(file), wanted), file


def test_twelve_bit_dicom_equals_the_same_values_in_a_sixteen_bit_png(tmp_path: Path) -> None:
    Image.fromarray(DEEP).save(tmp_path / "a.png")
    plain = write_dicom(tmp_path / "plain.dcm", DEEP, 12)
    shown = write_dicom(tmp_path / "shown.dcm", DEEP, 12, WindowCenter="2000", WindowWidth="1000")
    named = UNIT.replace(unit="12-bit")
    wanted = named.load(tmp_path / "a.png")
    assert torch.equal(named.load(plain), wanted)
    assert torch.equal(named.load(shown), wanted), "a named unit is the stored value, whatever window the file suggests"
    assert torch.equal(UNIT.load(plain), wanted)
    assert torch.equal(UNIT.replace(voi=False).load(shown), wanted)
    assert not torch.equal(UNIT.load(shown), wanted)
    refused(UNIT, tmp_path / "a.png", "unit", "undeclared depth")


def test_a_window_of_the_contract_goes_before_the_files(tmp_path: Path) -> None:
    shown = write_dicom(tmp_path / "a.dcm", DEEP, 12, WindowCenter="2000", WindowWidth="1000")
    own = UNIT.load(shown)[0].numpy()
    # PS3.3 C.11.2.1.2.1, the linear function
    np.testing.assert_allclose(own, np.clip((DEEP - 1999.5) / 999 + 0.5, 0, 1), atol=1e-6)
    wide = UNIT.replace(window=(1000, 3000)).load(shown)[0].numpy()
    np.testing.assert_allclose(wide, np.clip((DEEP - 1000.0) / 2000, 0, 1), atol=1e-6)


def test_monochrome1_is_inverted_unless_as_stored(tmp_path: Path) -> None:
    file = write_dicom(tmp_path / "a.dcm", DEEP, 12, PhotometricInterpretation="MONOCHROME1")
    for contract in (UNIT, UNIT.replace(window=(500, 3500)), UNIT.replace(percentiles=(5, 95))):
        stored = contract.replace(photometric="as-stored").load(file)
        torch.testing.assert_close(contract.load(file), 1 - stored, rtol=0, atol=2e-7)
        assert torch.equal(stored, contract.load(write_dicom(tmp_path / "b.dcm", DEEP, 12)))
    windowed = write_dicom(tmp_path / "w.dcm", DEEP, 12, PhotometricInterpretation="MONOCHROME1", WindowCenter="2000", WindowWidth="1000")
    torch.testing.assert_close(UNIT.load(windowed), 1 - UNIT.replace(photometric="as-stored").load(windowed))


# ---- percentiles -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_percentiles_of_each_image_become_0_and_1_in_any_unit(dtype: Any) -> None:
    values = (np.arange(101 * 8) // 8).reshape(8, 101).astype(dtype)  # 0 to 100, each eight times
    loaded = UNIT.replace(percentiles=(10, 90)).load(values)[0].numpy()
    low, high = np.percentile(values, (10, 90))
    np.testing.assert_allclose(loaded, np.clip((values.astype(np.float64) - low) / (high - low), 0, 1), atol=1e-6)
    assert {loaded.min(), loaded.max()} == {0, 1}


def test_percentiles_do_not_depend_on_gain_and_offset() -> None:
    values = np.random.default_rng(0).normal(300, 50, (16, 16)).astype(np.float32)
    contract = UNIT.replace(percentiles=(1, 99))
    torch.testing.assert_close(contract.load(values * 4 - 1000), contract.load(values), rtol=0, atol=1e-4)


def test_a_constant_image_is_black_under_percentiles() -> None:
    contract = UNIT.replace(percentiles=(1, 99))
    assert not contract.load(np.full((8, 8), 77, np.uint8)).any()
    spot = np.zeros((100, 100), np.uint16)
    spot[3, 4] = 900
    assert contract.load(spot).sum() == 1, "values above coinciding percentiles are 1"


def test_percentiles_under_a_named_unit_keep_the_unit() -> None:
    contract = UNIT.replace(percentiles=(1, 99), unit="12-bit")
    refused(contract, RAMP, "unit", "8-bit pixels, but the contract's unit is '12-bit'")
    refused(contract, np.full((8, 8), 5000, np.uint16), "expected_range", "12-bit means 0 to 4095")


# ---- units -----------------------------------------------------------------------------------------------------------
def test_a_named_unit_refuses_every_depth_that_a_file_declares_otherwise(tmp_path: Path) -> None:
    for bits in (8, 10, 12, 14, 16):
        pixels = (RAMP if bits == 8 else RAMP.astype(np.uint16)) % 2**7
        file = write_dicom(tmp_path / f"{bits}.dcm", pixels, bits)
        for unit in ("8-bit", "10-bit", "12-bit", "14-bit", "16-bit", "unit-interval"):
            contract = InputContract.from_dict({"unit": unit, "mean": 0.0, "std": 1.0})
            if unit == f"{bits}-bit":
                assert float(contract.load(file).max()) == pytest.approx(127 / (2**bits - 1))
            else:
                refused(contract, file, "unit", f"{bits}-bit pixels, but the contract's unit is '{unit}'")


def test_hounsfield_units_of_a_ct_file_under_auto_and_hu(tmp_path: Path) -> None:
    values = (DEEP.astype(np.int32) // 2).astype(np.int16)
    elements = {"SOPClassUID": CTImageStorage, "Modality": "CT", "RescaleIntercept": "-1024", "RescaleSlope": "1", "RescaleType": "HU"}
    file = write_dicom(tmp_path / "a.dcm", values, 16, **elements)
    hu = values.astype(np.float64) - 1024
    lung = UNIT.replace(unit="HU", window=(-1000, 400))
    np.testing.assert_allclose(lung.load(file)[0].numpy(), np.clip((hu + 1000) / 1400, 0, 1), atol=1e-6)
    assert torch.equal(lung.load(hu.astype(np.int16)), lung.load(file))
    np.testing.assert_allclose(UNIT.load(file)[0].numpy(), (values + 32768.0) / 65535, atol=1e-6)
    refused(UNIT.replace(unit="16-bit"), file, "unit", "HU pixels, but the contract's unit is '16-bit'")
    refused(lung, RAMP, "unit", "8-bit pixels, but the contract's unit is 'HU'")


def test_expected_range_narrows_what_is_taken() -> None:
    contract = UNIT.replace(expected_range=(10, 200))
    assert contract.load(np.clip(RAMP, 10, 200)).shape == (1, 16, 16)
    refused(contract, RAMP, "expected_range", "values from 0 to 255, but expected_range says 10 to 200")
    lung = UNIT.replace(unit="HU", window=(-1000, 400), expected_range=(-1100, 3100))
    refused(lung, np.full((8, 8), 4000, np.int16), "expected_range", "4000, but expected_range says -1100 to 3100")


# ---- channels --------------------------------------------------------------------------------------------------------
def test_exact_colour_converts_nothing_even_leniently() -> None:
    grey, rgb = RAMP, np.stack([RAMP] * 3, axis=2)
    for channels, right, wrong in ((1, grey, rgb), (3, rgb, grey)):
        contract = UNIT.replace(channels=channels, colour="exact")
        assert contract.load(right).shape == (channels, 16, 16)
        for lenient in (False, True):
            refused(contract, wrong, "channels", "colour 'exact' converts nothing", lenient=lenient)


def test_grey_of_keeps_colour() -> None:
    rgb = np.stack([RAMP, RAMP, RAMP.T], axis=2)
    assert grey_of(rgb) is rgb
    assert grey_of(RAMP) is RAMP
    assert np.array_equal(grey_of(np.stack([RAMP] * 3, axis=2)), RAMP)
    with pytest.raises(ContractError, match="2 channels, but the contract says 1"):
        match_channels(np.zeros((8, 8, 2), np.float32), UNIT, "x")


# ---- lenient ---------------------------------------------------------------------------------------------------------
def test_lenient_scales_another_unit_by_the_range_that_the_file_declares(tmp_path: Path) -> None:
    message = "contract rule 'unit' bent: 8-bit pixels, but the contract's unit is '12-bit'; scaled by the range that the file declares"
    assert torch.equal(bent(UNIT.replace(unit="12-bit"), RAMP, message), UNIT.load(RAMP))
    hu = UNIT.replace(unit="HU", window=(-1000, 400))
    assert torch.equal(bent(hu, RAMP, "8-bit pixels, but the contract's unit is 'HU'"), UNIT.load(RAMP)), "HU's window is of another unit"
    deep = write_dicom(tmp_path / "a.dcm", DEEP, 12)
    assert torch.equal(bent(UNIT.replace(unit="8-bit"), deep, "12-bit pixels"), UNIT.load(deep))


@pytest.mark.parametrize(("largest", "full"), [(3, 255), (255, 255), (256, 511), (900, 1023), (4095, 4095), (4096, 8191), (65535, 65535)])
def test_lenient_takes_the_smallest_depth_that_holds_the_maximum(largest: int, full: int) -> None:
    array = np.zeros((8, 8), np.uint16)
    array[0, 0] = largest
    loaded = bent(UNIT, array, "contract rule 'unit' bent: undeclared depth, scaled by the smallest n-bit range")
    assert float(loaded.max()) == np.float32(largest) / np.float32(full)


def test_lenient_saturates_values_beyond_the_range() -> None:
    array = np.array([[0, 100, 4095, 5000] * 2] * 8, np.uint16)
    message = "contract rule 'expected_range' bent: values beyond what 12-bit means 0 to 4095 saturate"
    loaded = bent(UNIT.replace(unit="12-bit"), array, message)
    assert torch.equal(loaded, UNIT.replace(unit="12-bit").load(np.minimum(array, 4095)))
    assert float(bent(UNIT, np.full((8, 8), 1.5, np.float32), "unit-interval means 0 to 1").max()) == 1


def test_what_is_never_bent() -> None:
    refused(UNIT, np.full((8, 8), np.nan, np.float32), "finite", "NaN or infinite pixels", lenient=True)
    refused(UNIT, np.zeros((8, 8, 5), np.uint8), "channels", "5 channels", lenient=True)
    nobody = Stored(np.zeros((8, 8), np.int32), "HU")
    with pytest.raises(ContractError, match="contract rule 'unit'"):
        scale(nobody, UNIT.replace(unit="12-bit"), "x", lenient=True)


def test_ten_thousand_files_give_one_line_under_pythons_own_filter() -> None:
    contract = UNIT.replace(unit="12-bit")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", ContractWarning)
        for value in range(20):
            contract.load(np.full((8, 8), value, np.uint8), lenient=True)
    assert len(caught) == 1


def test_lenient_changes_nothing_where_no_rule_is_broken(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(UNIT.load(RAMP, lenient=True), UNIT.load(RAMP))


def test_an_error_keeps_its_rule_through_a_process_border() -> None:
    error = pickle.loads(pickle.dumps(broken("a.png", "unit", "wrong")))
    assert type(error) is ContractError
    assert (str(error), error.rule) == ("a.png: contract rule 'unit': wrong", "unit")


def test_values_and_sizes_beyond_float32_and_memory_are_refused() -> None:
    with pytest.raises(ContractError, match="beyond 1e\\+30"):
        scale(Stored(np.full((8, 8), 1e300)), InputContract(percentiles=(0, 100)), "x")
    with pytest.raises(ContractError, match="500 channels; 100,663,296 values"):
        match_channels(np.zeros((1024, 1024), np.float32), InputContract(channels=500), "x")


def test_an_expected_range_wider_than_the_unit_does_not_leave_the_contract() -> None:
    pixels = np.full((32, 32), 5000, dtype=np.uint16)
    for size in (None, 16, 32):
        contract = InputContract(size=size, unit="12-bit", expected_range=(0, 5000))
        with pytest.raises(ContractError, match="contract rule 'expected_range': values beyond 0 to 4095, what 12-bit means"):
            contract.load(pixels)
    with pytest.warns(ContractWarning, match="'expected_range' bent"):
        tensor = InputContract(unit="12-bit", expected_range=(0, 5000)).load(pixels, lenient=True)
    assert float(tensor.max()) == 1.0


def test_floats_of_zero_to_one_are_no_hounsfield_units() -> None:
    contract = InputContract(unit="HU", window=(-1000, 400))
    image = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    with pytest.raises(ContractError, match="contract rule 'unit': floats that all lie in 0 to 1 are no Hounsfield units"):
        contract.load(image)
    assert contract.load(image * 1000 - 500).shape == (1, 32, 32)
    assert contract.load(np.zeros((32, 32), dtype=np.float32)).shape == (1, 32, 32), "water, say"


@pytest.mark.parametrize(
    ("pixels", "remedy"),
    [
        (np.full((16, 16), 200, dtype=np.int64), "store them as such \\(uint8\\)"),
        (np.full((16, 16), -200, dtype=np.int16), "set unit HU with a window, or percentiles"),
        (np.full((16, 16), 2000, dtype=np.uint16), "set unit to '12-bit' or '16-bit'"),
        (np.full((16, 16), 200, dtype=np.float32), "divide by the full scale"),
    ],
)
def test_the_remedy_fits_the_values(pixels: np.ndarray, remedy: str) -> None:
    with pytest.raises(ContractError, match=remedy):
        InputContract().load(pixels)


@pytest.mark.parametrize("low", [-1e-3, -1e-38, -3.2404172515995924e-43])
def test_the_narrowest_window_saturates_without_a_word(low: float) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    tensor = InputContract(mean=0.0, std=1.0, window=(low, 0.0)).load(pixels)
    assert torch.isfinite(tensor).all()
    assert (tensor.flatten()[1:] == 1).all()
