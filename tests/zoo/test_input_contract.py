"""InputContract: what is read, what is refused, and the numbers that come out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from umsrep.errors import InputError
from umsrep.zoo import InputContract
from umsrep.zoo.input_contract import ContractError, ContractWarning

ROOT = Path(__file__).resolve().parents[2]
UNIT = InputContract(mean=0.0, std=1.0)
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOUR = np.random.default_rng(3).integers(0, 256, (16, 20, 3), dtype=np.uint8)


def refuses(contract: InputContract, source: Any, message: str) -> None:
    """Check that loading is refused in one line that matches."""
    with pytest.raises(InputError, match=message) as caught:
        contract.load(source)
    assert "\n" not in str(caught.value)


# ---- the same pixels however stored ----------------------------------------------------------------------------------
@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "npy"])
def test_eight_bit_files_are_divided_by_255(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, RAMP)
    else:
        Image.fromarray(RAMP).save(path)
    wanted = torch.from_numpy(RAMP.astype(np.float32) / 255)[None]
    for source in (path, str(path), RAMP, Image.fromarray(RAMP), RAMP[:, :, None]):
        loaded = UNIT.load(source)
        assert loaded.dtype == torch.float32
        assert torch.equal(loaded, wanted)
    assert UNIT.load(path).min() == 0
    assert UNIT.load(path).max() == 1


def test_the_array_of_the_caller_is_never_changed_or_shared() -> None:
    array = np.full((8, 8), 0.5, dtype=np.float32)
    loaded = UNIT.load_unit(array)
    loaded.fill_(9)
    assert (array == 0.5).all()


def test_bilevel_images_are_black_and_white(tmp_path: Path) -> None:
    bits = RAMP > 100
    Image.fromarray(bits).save(tmp_path / "a.png")
    wanted = torch.from_numpy(bits.astype(np.float32))[None]
    assert torch.equal(UNIT.load(tmp_path / "a.png"), wanted)
    assert torch.equal(UNIT.load(bits), wanted)


@pytest.mark.parametrize(("unit", "full"), [("12-bit", 4095), ("16-bit", 65535)])
def test_deep_images_under_a_named_unit(tmp_path: Path, unit: Any, full: int) -> None:
    array = np.linspace(0, full, 64).round().astype(np.uint16).reshape(8, 8)
    Image.fromarray(array).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", array.astype(np.int32))
    Image.fromarray(array).save(tmp_path / "a.tif")
    contract = UNIT.replace(unit=unit)
    wanted = torch.from_numpy(array.astype(np.float32) / np.float32(full))[None]
    for name in ("a.png", "a.npy", "a.tif"):
        assert torch.equal(contract.load(tmp_path / name), wanted), name
        refuses(UNIT, tmp_path / name, rf"{name}: .*largest {full}\) of undeclared depth; .*set unit to '12-bit' or '16-bit'")
        refuses(UNIT.replace(unit="8-bit"), tmp_path / name, "undeclared depth|the contract's unit is '8-bit'")
        refuses(UNIT.replace(unit="unit-interval"), tmp_path / name, "undeclared depth|the contract's unit is 'unit-interval'")
    assert torch.equal(contract.load(array.astype(">u2")), wanted)


def test_values_beyond_the_named_depth_are_refused() -> None:
    refuses(UNIT.replace(unit="12-bit"), np.full((8, 8), 4096, np.uint16), "values from 4096 to 4096, but 12-bit means 0 to 4095")
    refuses(UNIT.replace(unit="16-bit"), np.full((8, 8), -1, np.int16), "values from -1 to -1, but 16-bit means 0 to 65535")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_unit_interval(dtype: Any, tmp_path: Path) -> None:
    array = np.linspace(0, 1, 64).reshape(8, 8).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    for unit in ("auto", "unit-interval"):
        contract = UNIT.replace(unit=unit)
        assert torch.equal(contract.load(tmp_path / "a.npy"), torch.from_numpy(array.astype(np.float32))[None])
    refuses(UNIT, array * 2, "values from 0 to 2, but unit-interval means 0 to 1")
    refuses(UNIT, array - 0.5, "values from -0.5")
    refuses(UNIT.replace(unit="8-bit"), array, "unit-interval pixels, but the contract's unit is '8-bit'")


@pytest.mark.parametrize("unit", ["12-bit", "16-bit", "unit-interval", "HU"])
def test_every_named_unit_refuses_eight_bit(unit: Any) -> None:
    contract = UNIT.replace(unit=unit, window=(-1000.0, 400.0) if unit == "HU" else None)
    refuses(contract, RAMP, f"8-bit pixels, but the contract's unit is '{unit}'")
    assert UNIT.replace(unit="8-bit").load(RAMP).shape == (1, 16, 16)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_hounsfield_window_maps_and_saturates(dtype: Any) -> None:
    contract = UNIT.replace(unit="HU", window=(-1000, 400))
    array = np.tile(np.array([-2000, -1000, -300, 50, 400, 3000, 0, 0]), (8, 1)).astype(dtype)
    assert contract.load(array)[0, 0, :6].tolist() == pytest.approx([0, 0, 0.5, 0.75, 1, 1])


def test_a_window_in_stored_units_applies_to_every_unit() -> None:
    values = UNIT.replace(window=(50, 150)).load(RAMP).flatten()
    assert values[[50, 100, 150, 255, 0]].tolist() == [0, 0.5, 1, 1, 0]


# ---- channels ----------------------------------------------------------------------------------------------------------
def test_rgb_becomes_grey_by_bt601_luma(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    red, green, blue = np.moveaxis(COLOUR.astype(np.float64) / 255, 2, 0)
    wanted = 0.299 * red + 0.587 * green + 0.114 * blue
    grey = UNIT.load(tmp_path / "a.png")
    assert np.abs(grey[0].numpy() - wanted).max() < 1e-6
    pillow = np.asarray(Image.fromarray(COLOUR).convert("L"), dtype=np.float64) / 255
    assert np.abs(grey[0].numpy() - pillow).max() < 1 / 255


def test_grey_stored_as_rgb_stays_bitwise_grey(tmp_path: Path) -> None:
    Image.fromarray(np.stack([RAMP] * 3, axis=2)).save(tmp_path / "a.png")
    assert torch.equal(UNIT.load_unit(tmp_path / "a.png"), UNIT.load_unit(RAMP))


def test_grey_is_repeated_and_rgb_kept_in_order() -> None:
    three = UNIT.replace(channels=3)
    assert torch.equal(three.load(RAMP), UNIT.load(RAMP).repeat(3, 1, 1))
    assert torch.equal(three.load(COLOUR), torch.from_numpy(np.moveaxis(COLOUR, 2, 0).astype(np.float32) / 255))
    assert torch.equal(UNIT.replace(channels=5).load(RAMP), UNIT.load(RAMP).repeat(5, 1, 1))


def test_as_many_channels_as_wanted_pass_and_others_do_not() -> None:
    array = np.random.default_rng(0).random((8, 9, 5), dtype=np.float32)
    assert torch.equal(UNIT.replace(channels=5).load(array), torch.from_numpy(array).permute(2, 0, 1))
    refuses(UNIT, array, "5 channels, but the contract says 1")
    refuses(UNIT.replace(channels=2), COLOUR, "3 channels, but the contract says 2")


# ---- colour modes --------------------------------------------------------------------------------------------------------
def test_palette_images_show_their_colours(tmp_path: Path) -> None:
    image = Image.fromarray((RAMP % 3).astype(np.uint8)).convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255] + [0] * 759)
    image.save(tmp_path / "a.png")
    loaded = UNIT.replace(channels=3).load(tmp_path / "a.png")
    assert loaded[:, 0, :3].T.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_passes_only_where_nothing_is_transparent(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR).convert(mode)
    image.save(tmp_path / "opaque.png")
    plain = Image.fromarray(COLOUR).convert("RGB" if mode == "RGBA" else "L")
    assert torch.equal(UNIT.load(tmp_path / "opaque.png"), UNIT.load(plain))
    alpha = Image.new("L", image.size, 255)
    alpha.putpixel((3, 3), 254)
    image.putalpha(alpha)
    image.save(tmp_path / "glass.png")
    refuses(UNIT, tmp_path / "glass.png", r"glass\.png: transparent pixels; flatten")


def test_other_colour_modes_are_refused(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "a.tif")
    refuses(UNIT, tmp_path / "a.tif", r"a\.tif: colour mode CMYK is not supported")


# ---- what cannot be read ---------------------------------------------------------------------------------------------------
def test_missing_file_and_folder(tmp_path: Path) -> None:
    refuses(UNIT, tmp_path / "absent.png", r"absent\.png: no such file")
    refuses(UNIT, tmp_path, "a folder; name the files in it")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(tmp_path / "whole.png")
    Image.fromarray(COLOUR).save(tmp_path / "whole.jpg")
    np.save(tmp_path / "whole.npy", RAMP)
    for whole in list(tmp_path.glob("whole.*")):
        content = whole.read_bytes()
        for length in (0, 7, 20, len(content) // 3, len(content) // 2):
            cut = tmp_path / f"cut-{length}{whole.suffix}"
            cut.write_bytes(content[:length])
            refuses(UNIT, cut, rf"{cut.name}: (damaged or unreadable image|not an image that can be read)")
    flipped = bytearray((tmp_path / "whole.png").read_bytes())
    flipped[len(flipped) // 2] ^= 0xFF
    (tmp_path / "flipped.png").write_bytes(flipped)
    refuses(UNIT, tmp_path / "flipped.png", r"flipped\.png: damaged")
    (tmp_path / "text.png").write_text("not an image", encoding="utf-8")
    refuses(UNIT, tmp_path / "text.png", r"text\.png: not an image")


def test_a_truncated_image_that_pillow_opened_lazily(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with Image.open(tmp_path / "a.png") as image:
        refuses(UNIT, image, "damaged or unreadable image")


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}] * 64).reshape(8, 8), allow_pickle=True)
    refuses(UNIT, tmp_path / "a.npy", r"a\.npy: damaged or unreadable image")


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (100, 7)])
def test_tiny_images_are_refused(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("L", size).save(tmp_path / "a.png")
    refuses(UNIT, tmp_path / "a.png", rf"a\.png: {size[0]}x{size[1]} pixels; an image has at least 8 a side")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers(value: float, tmp_path: Path) -> None:
    array = np.zeros((8, 8), dtype=np.float32)
    array[3, 4] = value
    np.save(tmp_path / "a.npy", array)
    refuses(UNIT, tmp_path / "a.npy", r"a\.npy: contract rule 'finite': NaN or infinite pixels")
    refuses(UNIT.replace(unit="HU", window=(-1000, 400)), array, "NaN or infinite pixels")


@pytest.mark.parametrize("array", [np.zeros(64), np.zeros((2, 8, 8, 3)), np.zeros((8, 8, 65)), np.zeros((0, 8))])
def test_arrays_of_no_image_shape(array: np.ndarray) -> None:
    refuses(UNIT, array, "shape|pixels")


def test_pixels_of_another_type() -> None:
    refuses(UNIT, np.zeros((8, 8), dtype=np.complex64), "cannot read pixels of type complex64")
    refuses(UNIT, [[0] * 8] * 8, "expected a path, a numpy array or a PIL image")


# ---- size ----------------------------------------------------------------------------------------------------------------
def test_no_size_keeps_the_files_own() -> None:
    assert UNIT.load(COLOUR).shape == (1, 16, 20)
    mask = torch.arange(320).reshape(16, 20)
    assert UNIT.fit_mask(mask) is mask


def test_stretch_is_antialiased() -> None:
    contract = UNIT.replace(size=(8, 16))
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (32, 32))
    small = contract.load(stripes)
    assert small.shape == (1, 8, 16)
    assert small.sub(0.5).abs()[..., 1:-1].max() < 0.02  # without antialiasing black and white stripes remain
    constant = contract.load(np.full((50, 13), 77, np.uint8))
    torch.testing.assert_close(constant, torch.full((1, 8, 16), 77 / 255), rtol=0, atol=1e-6)


def test_antialias_is_a_rule_of_the_contract() -> None:
    stripes = np.tile(np.array([0, 0, 0, 255], dtype=np.uint8), (32, 16))
    rough = UNIT.replace(size=(8, 16), antialias=False).load(stripes)
    smooth = UNIT.replace(size=(8, 16)).load(stripes)
    assert not rough.any(), "one in four columns falls between the samples"
    assert smooth[..., 1:-1].sub(0.25).abs().max() < 0.02


@pytest.mark.parametrize(("resize", "wanted"), [("stretch", (0.5, 3.0)), ("pad", (2.0, 3.0))])
def test_spacing_follows_the_resize(resize: Any, wanted: tuple[float, float]) -> None:
    contract = InputContract(size=(40, 20), resize=resize)
    assert contract.fitted_spacing((0.5, 0.75), 40, 80) == pytest.approx(wanted)
    assert InputContract().fitted_spacing((0.5, 0.75), 40, 80) == (0.5, 0.75)


@pytest.mark.parametrize(
    ("height", "width", "inner"),
    [(40, 20, (32, 16)), (20, 40, (16, 32)), (10, 10, (32, 32)), (1000, 8, (32, 1)), (32, 32, (32, 32))],
)
def test_pad_keeps_the_aspect_and_fills_right_and_bottom(height: int, width: int, inner: tuple[int, int]) -> None:
    contract = InputContract(size=32, resize="pad")
    assert contract.inner_size(height, width) == inner
    image = contract.load(np.full((height, width), 255, np.uint8))
    mask = contract.fit_mask(torch.ones(height, width, dtype=torch.int64))
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[: inner[0], : inner[1]] = True
    assert image.shape == (1, 32, 32)
    torch.testing.assert_close(image[0], torch.where(inside, 1.0, -1.0))  # zeros of the unit range, then normalised
    assert torch.equal(mask, torch.where(inside, 1, 255))
    assert torch.equal(contract.fit_mask(torch.ones(height, width, dtype=torch.uint8), fill=0).bool(), inside)


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_masks_stay_on_their_image_and_invent_no_class(resize: Any) -> None:
    contract = UNIT.replace(size=(24, 40), resize=resize)
    mask = np.zeros((48, 60), dtype=np.int64)
    mask[10:30, 20:40] = 3
    mask[30:40, 5:15] = 255
    fitted = contract.fit_mask(torch.from_numpy(mask))
    assert set(fitted.unique().tolist()) == {0, 3, 255}
    image = contract.fit(torch.from_numpy((mask == 3).astype(np.float32))[None])
    sure = ((image < 0.01) | (image > 0.99))[0]
    assert torch.equal((fitted == 3)[sure], image[0][sure] > 0.5)
    stacked = contract.fit_mask(torch.from_numpy(mask).expand(2, 3, 48, 60))
    assert torch.equal(stacked, fitted.expand(2, 3, 24, 40))


# ---- normalisation -------------------------------------------------------------------------------------------------------
def test_normalise_golden() -> None:
    contract = InputContract(channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    white = contract.normalise(torch.ones(2, 3, 4, 4))
    assert white[1, :, 0, 0].tolist() == pytest.approx([2.2489, 2.4286, 2.6400], abs=1e-4)
    assert InputContract().load(RAMP).flatten()[[0, 255]].tolist() == [-1, 1]


finite = st.floats(-2, 2, allow_nan=False)
positive = st.floats(0.01, 4)


@st.composite
def contracts(draw: st.DrawFn) -> InputContract:
    """Any legal contract."""
    channels = draw(st.integers(1, 5))
    low = draw(st.integers(-2000, 2000))
    unit: Any = draw(st.sampled_from(["auto", "8-bit", "12-bit", "16-bit", "HU", "unit-interval"]))
    window = (float(low), low + draw(st.floats(1, 5000)))
    rule: dict[str, Any] = {"window": window}
    if unit != "HU":
        rule = draw(st.sampled_from([{}, rule, {"percentiles": (draw(st.integers(0, 49)), draw(st.integers(50, 100)))}]))
    side = st.integers(8, 512)
    return InputContract(
        channels=channels,
        size=draw(st.none() | side | st.tuples(side, side)),
        unit=unit,
        mean=draw(finite | st.tuples(*[finite] * channels)),
        std=draw(positive | st.tuples(*[positive] * channels)),
        resize=draw(st.sampled_from(["stretch", "pad"])),
        voi=draw(st.booleans()),
        photometric=draw(st.sampled_from(["monochrome2", "as-stored"])),
        colour=draw(st.sampled_from(["convert", "exact"])),
        antialias=draw(st.booleans()),
        expected_range=draw(st.none() | st.just(window)),
        **rule,
    )


@settings(max_examples=60, deadline=None, database=None)
@given(contract=contracts())
def test_a_contract_survives_json_and_undoes_itself(contract: InputContract) -> None:
    again = InputContract.from_dict(json.loads(json.dumps(contract.to_dict())))
    assert again == contract
    assert hash(again) == hash(contract)
    unit = torch.rand(2, contract.channels, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(contract.denormalise(contract.normalise(unit)), unit)
    contract.check_range(contract.normalise(unit.float()))
    lines = contract.describe()
    assert len({line.partition(": ")[0] for line in lines}) == len(lines) == 7
    low, high = contract.tensor_range
    assert (low, high) == pytest.approx(
        (float(contract.normalise(torch.zeros_like(unit)).min()), float(contract.normalise(torch.ones_like(unit)).max()))
    )


def test_a_contract_of_an_older_file_reads_with_the_defaults() -> None:
    config = json.loads((ROOT / "zoo" / "weights" / "ums-cxr-efficientnet-lite0" / "config.json").read_text(encoding="utf-8"))
    old = {key: config["umsrep"]["contract"][key] for key in ("channels", "size", "unit", "mean", "std", "resize", "window")}
    assert InputContract.from_dict(old) == InputContract(size=192)


def test_a_contract_in_words() -> None:
    lines = InputContract(channels=3, size=(64, 32), unit="HU", window=(-1000, 400), mean=(0.1, 0.5, 0.9), std=0.5, resize="pad").describe()
    assert lines[0] == "stored unit: HU; every other is refused"
    assert "window -1000 to 400" in lines[1]
    assert lines[-2] == ("size: 64 x 32 pixels (height x width), aspect kept, padded with 0 at the right and bottom, bilinear, antialiased")
    assert lines[-1].endswith("so the tensor lies in -1.8 to 1.8")


# ---- check_range -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.zeros(2, 3, 8, 8), r"^row 7: contract rule 'channels': 3 channels, but the contract says 1$"),
        (torch.full((2, 1, 8, 8), torch.nan), r"^row 7: contract rule 'finite': NaN or infinite pixels$"),
        (torch.tensor([0.0, torch.inf]).reshape(1, 1, 1, 2), "NaN or infinite pixels"),
        (torch.full((2, 1, 8, 8), 255.0), r"values from 128 to 128 after undoing mean and std, .*; load images with contract\.load"),
        (torch.full((2, 1, 8, 8), -1.01), "values from -0.005"),
    ],
)
def test_check_range_says_what_is_wrong(batch: torch.Tensor, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        InputContract().check_range(batch, where="row 7")


def test_check_range_bends_only_the_range() -> None:
    contract = InputContract()
    with pytest.warns(ContractWarning, match="contract rule 'range' bent: values outside"):
        contract.check_range(torch.full((1, 1, 8, 8), 2.0), lenient=True)
    for wrong, rule in ((torch.zeros(1, 3, 8, 8), "channels"), (torch.full((1, 1, 8, 8), torch.nan), "finite")):
        with pytest.raises(ContractError) as caught:
            contract.check_range(wrong, lenient=True)
        assert caught.value.rule == rule


def test_check_range_takes_what_load_gives() -> None:
    contract = InputContract(channels=3, size=32, mean=(0.1, 0.5, 0.9), std=(0.1, 0.2, 0.3))
    contract.check_range(contract.load(COLOUR)[None])
    contract.check_range(contract.load(COLOUR))


# ---- impossible contracts --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": 0}, "channels must be 1 or more"),
        ({"channels": "1"}, "channels"),
        ({"channels": 1.5}, "channels"),
        ({"unit": "8bit"}, "unknown unit '8bit'; did you mean .*'8-bit'"),
        ({"resize": "padd"}, "unknown resize 'padd'; did you mean 'pad'"),
        ({"resize": 5}, "resize"),
        ({"size": 7}, "size must be two whole numbers from 8 to 16384"),
        ({"size": (32, 20000)}, "size must be"),
        ({"size": (32,)}, "size must be"),
        ({"size": 32.0}, "size must be"),
        ({"mean": (0.1, 0.2)}, "mean has 2 values for 1 channels"),
        ({"mean": "0.5"}, "mean"),
        ({"std": 0}, "std must be finite and above 0"),
        ({"std": -1.0}, "std must be finite and above 0"),
        ({"std": None}, "std"),
        ({"mean": float("nan")}, "mean must be finite, not nan"),
        ({"unit": "HU"}, "unit HU needs a window"),
        ({"window": (5, 5)}, "low < high"),
        ({"window": (1,)}, "window"),
        ({"window": (float("nan"), 1.0)}, "low < high"),
        ({"window": (float("-inf"), 1.0)}, "window"),
        ({"percentiles": (0, 101)}, "percentiles must lie in 0 to 100"),
        ({"percentiles": (99, 1)}, "percentiles must be .* low < high"),
        ({"percentiles": (1, 99), "window": (0, 10)}, "window and percentiles exclude each other"),
        ({"expected_range": (5, 1)}, "expected_range must be .* low < high"),
        ({"voi": 1}, "voi must be true or false"),
        ({"antialias": "yes"}, "antialias must be true or false"),
        ({"photometric": "monochrome"}, "unknown photometric 'monochrome'; did you mean 'monochrome2'"),
        ({"colour": "exakt"}, "unknown colour 'exakt'; did you mean 'exact'"),
        ({"chanels": 1}, "unknown key 'chanels'; did you mean 'channels'"),
    ],
)
def test_impossible_contracts(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^contract: .*{message}"):
        InputContract.from_dict(values)


def test_replace_checks_too() -> None:
    assert InputContract().replace(size=64).size == (64, 64)
    with pytest.raises(InputError, match="channels"):
        InputContract().replace(channels=-1)
