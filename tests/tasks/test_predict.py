"""Prediction: any source, any size, the order kept, results at the original size; tiles and flips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.conformance import perturb
from tests.tasks.runs import ARCH
from umsrep.errors import InputError
from umsrep.heads import ClassificationHead, DenoisingHead, SegmentationHead
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.predict import Prediction, predict_loaded
from umsrep.zoo import Encoder, InputContract
from umsrep.zoo.input_contract import ContractError, ContractWarning, LoadedImage


def make(*, size: int | None = 64, channels: int = 1, resize: str = "stretch", heads: dict[str, Any] | None = None) -> MultiTaskModel:
    torch.manual_seed(0)
    contract = InputContract(channels=channels, size=size, resize=resize)  # type: ignore[arg-type]
    given = heads or {
        "clean": DenoisingHead(width=8),
        "organ": SegmentationHead(["back", "organ"]),
        "grade": ClassificationHead(["low", "high"]),
    }
    model = MultiTaskModel(Encoder.create(ARCH, contract=contract), given)
    perturb(model, 0.03)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> MultiTaskModel:
    return make()


def picture(height: int = 40, width: int = 48, *, seed: int = 0, channels: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def equal(one: dict[str, Prediction], other: dict[str, Prediction], atol: float = 1e-5) -> None:
    assert one.keys() == other.keys()
    for name in one:
        for field in ("image", "probabilities"):
            a, b = getattr(one[name], field), getattr(other[name], field)
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(a, b, atol=atol)
        assert one[name].label == other[name].label


@pytest.mark.parametrize("tile", [None, 64])
def test_denoised_first_is_denoised_and_then_predicted(model: MultiTaskModel, tile: int | None) -> None:
    size = model.encoder.contract.size
    assert size is not None
    height, width = (size, size) if isinstance(size, int) else size
    image = picture(height, width)
    contract = model.encoder.contract
    with torch.inference_mode():
        x = contract.load(image)[None]
        clean = contract.denormalise(model(x, ["clean"])["clean"]).clamp(0, 1)
        expected = model(contract.normalise(clean))
    (first,) = model.predict([image], tile=tile, denoise_first=True)
    (plain,) = model.predict([image], tile=tile)
    for name in ("grade", "organ"):
        found = first[name].probabilities
        assert found is not None
        np.testing.assert_allclose(found, expected[name].softmax(1)[0], atol=1e-5)
    assert first["organ"].probabilities is not None
    assert np.abs(first["organ"].probabilities - plain["organ"].probabilities).max() > 1e-4
    np.testing.assert_array_equal(first["clean"].image, plain["clean"].image)


def test_nothing_to_denoise_with(model: MultiTaskModel) -> None:
    bare = MultiTaskModel(model.encoder, {"grade": ClassificationHead(["low", "high"])})
    with pytest.raises(InputError, match=r"denoise_first needs a model with one denoising head; of its heads \(grade\) 0 denoise"):
        bare.predict([picture()], denoise_first=True)


def test_results_have_the_original_size_and_their_types(model: MultiTaskModel) -> None:
    (out,) = model.predict([picture(40, 70)])
    clean, organ, grade = out["clean"], out["organ"], out["grade"]
    assert [p.kind for p in out.values()] == ["denoising", "segmentation", "classification"]
    assert clean.image is not None
    assert clean.image.shape == (40, 70)
    assert clean.image.dtype == np.float32
    assert 0 <= clean.image.min() <= clean.image.max() <= 1
    assert organ.mask is not None
    assert organ.probabilities is not None
    assert organ.mask.shape == (40, 70)
    assert organ.mask.dtype == np.uint8
    assert organ.probabilities.shape == (2, 40, 70)
    assert organ.probabilities.dtype == np.float32
    np.testing.assert_allclose(organ.probabilities.sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(organ.mask, organ.probabilities.argmax(0))
    assert grade.probabilities is not None
    assert grade.probabilities.shape == (2,)
    assert grade.threshold == 0.5
    assert grade.label == ("high" if grade.probabilities[1] >= 0.5 else "low")


def test_arrays_pil_images_and_paths_are_the_same(model: MultiTaskModel, tmp_path: Path) -> None:
    array = picture()
    Image.fromarray(array).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", array)
    results = model.predict([array, Image.fromarray(array), tmp_path / "a.png", str(tmp_path / "a.npy")], batch_size=3)
    for other in results[1:]:
        equal(results[0], other)


@pytest.mark.parametrize("size", [64, None])
def test_mixed_sizes_in_any_batch_keep_their_order(size: int | None) -> None:
    model = make(size=size)
    images = [picture(h, w, seed=n) for n, (h, w) in enumerate([(40, 48), (64, 64), (33, 90), (40, 48), (9, 8)])]
    alone = [model.predict([image])[0] for image in images]
    for batch in (2, 8):
        together = model.predict(images, batch_size=batch)
        for one, other in zip(together, alone, strict=True):
            equal(one, other)


def test_a_subset_of_heads_in_the_order_asked(model: MultiTaskModel) -> None:
    (out,) = model.predict([picture()], ["grade", "clean"])
    assert list(out) == ["grade", "clean"]
    assert model.predict([]) == []


def test_padding_is_taken_off_again() -> None:
    model = make(resize="pad")
    (out,) = model.predict([picture(20, 60)], ["organ"])
    assert out["organ"].mask is not None
    assert out["organ"].mask.shape == (20, 60)
    x = model.encoder.contract.load(picture(20, 60))
    with torch.inference_mode():
        inner = model(x[None], ["organ"])["organ"].softmax(1)[0][:, :21]
    assert out["organ"].probabilities is not None
    np.testing.assert_allclose(out["organ"].probabilities.mean((1, 2)), inner.mean((1, 2)).numpy(), atol=0.02)


def test_a_constant_size_is_not_resampled() -> None:
    model = make()
    image = picture(64, 64)
    with torch.inference_mode():
        raw = model(model.encoder.contract.load(image)[None])
    (out,) = model.predict([image])
    assert out["organ"].probabilities is not None
    assert out["clean"].image is not None
    np.testing.assert_allclose(out["organ"].probabilities, raw["organ"][0].softmax(0).numpy(), atol=1e-6)
    np.testing.assert_allclose(out["clean"].image, (raw["clean"][0, 0] * 0.5 + 0.5).clamp(0, 1).numpy(), atol=1e-6)


def test_colour() -> None:
    model = make(channels=3)
    (out,) = model.predict([picture(channels=3)])
    assert out["clean"].image is not None
    assert out["clean"].image.shape == (40, 48, 3)


def test_binary_and_overlapping_classes_and_labels() -> None:
    heads = {
        "one": SegmentationHead(["lesion"]),
        "many": SegmentationHead(["a", "b", "c"], multi_label=True),
        "labels": ClassificationHead(["x", "y", "z"], multi_label=True, thresholds=[0.0, 1.0, 0.0]),
        "grades": ClassificationHead(["g1", "g2", "g3"]),
    }
    (out,) = make(heads=heads).predict([picture()])
    one, many, labels, grades = (out[n] for n in heads)
    assert one.mask is not None
    assert one.probabilities is not None
    assert one.probabilities.shape == (1, 40, 48)
    np.testing.assert_array_equal(one.mask, (one.probabilities[0] > 0.5).astype(np.uint8))
    assert many.mask is not None
    assert many.mask.shape == (3, 40, 48)
    assert set(np.unique(many.mask)) <= {0, 1}
    assert (labels.label, labels.threshold) == (("x", "z"), (0.0, 1.0, 0.0))
    assert grades.probabilities is not None
    assert grades.label == grades.classes[int(grades.probabilities.argmax())]
    assert grades.threshold is None


def test_the_stored_threshold_decides_the_label() -> None:
    model = make()
    head: Any = model.heads["grade"]
    for threshold, label in ((0.0, "high"), (1.0, "low")):
        head.set_thresholds([threshold])
        (out,) = model.predict([picture()], ["grade"])
        assert (out["grade"].label, out["grade"].threshold) == (label, threshold)


@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_is_restored_also_after_an_error(mode: bool) -> None:
    model = make().train(mode)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.predict([picture()])
    assert all(m.training == mode for m in model.modules())
    with pytest.raises(InputError):
        model.predict(["absent.png"])
    assert all(m.training == mode for m in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_modes_of_frozen_parts_are_restored() -> None:
    model = make().train()
    model.heads["grade"].eval()
    before = {n: m.training for n, m in model.named_modules()}
    model.predict([picture()])
    assert {n: m.training for n, m in model.named_modules()} == before


# ---- flips and tiles -----------------------------------------------------------------------------------------------
def test_flips_make_the_prediction_symmetric(model: MultiTaskModel) -> None:
    image = picture(64, 64)
    (plain,), (one,), (two,) = (
        model.predict([image]),
        model.predict([image], flips=True),
        model.predict([image[:, ::-1].copy()], flips=True),
    )
    assert one["organ"].probabilities is not None
    assert two["organ"].probabilities is not None
    np.testing.assert_allclose(one["organ"].probabilities, two["organ"].probabilities[..., ::-1], atol=1e-5)
    assert one["grade"].probabilities is not None
    assert two["grade"].probabilities is not None
    np.testing.assert_allclose(one["grade"].probabilities, two["grade"].probabilities, atol=1e-5)
    assert one["clean"].image is not None
    assert two["clean"].image is not None
    np.testing.assert_allclose(one["clean"].image, two["clean"].image[:, ::-1], atol=1e-5)
    assert plain["organ"].probabilities is not None
    assert np.abs(one["organ"].probabilities - plain["organ"].probabilities).max() > 1e-4


def local() -> MultiTaskModel:
    """A denoiser whose branch sees the pixels alone: three folded 3x3 convolutions reach 6 pixels, so that tiles can be exact inside."""
    model = make(size=None, heads={"clean": DenoisingHead(width=8, depth=3)})
    branch: Any = model.heads["clean"].branch
    with torch.no_grad():
        branch[0].weight[:, 4:] = 0
        for layer in branch:
            if isinstance(layer, nn.Conv2d):
                layer.weight *= 3
    return model


@pytest.mark.parametrize(("height", "width"), [(160, 224), (64, 200), (130, 66), (96, 96)])
def test_tiles_equal_the_whole_away_from_their_seams(height: int, width: int) -> None:
    model = local()
    image = picture(height, width)
    (whole,), (tiled,) = model.predict([image]), model.predict([image], tile=64)
    assert whole["clean"].image is not None
    assert tiled["clean"].image is not None
    assert tiled["clean"].image.shape == (height, width)
    assert np.abs(whole["clean"].image - image / 255).max() > 0.01, "it does something"
    difference = np.abs(whole["clean"].image - tiled["clean"].image)
    seams = {}
    for axis, length in ((0, height), (1, width)):
        starts = [0] if length <= 64 else [*range(0, length - 64, 48), length - 64]
        inner = [s for s in starts if s] + [s + 64 for s in starts if s + 64 < length]
        inner += [length] if length % 32 else []  # the whole image is padded there, the last tile is not
        far = np.ones(length, dtype=bool)
        for seam in inner:
            far[max(0, seam - 8) : seam + 8] = False
        seams[axis] = far
    interior = difference[np.ix_(seams[0], seams[1])]
    assert interior.size > 0.15 * difference.size
    assert interior.max() < 1e-5


def test_tiles_of_a_new_denoiser_blend_to_the_image() -> None:
    torch.manual_seed(0)
    model = MultiTaskModel(Encoder.create(ARCH, contract=InputContract()), {"clean": DenoisingHead(width=8)}).eval()
    image = picture(150, 170)
    (out,) = model.predict([image], tile=64, flips=True)
    assert out["clean"].image is not None
    np.testing.assert_allclose(out["clean"].image, image / 255, atol=1e-5)


def test_a_tile_as_large_as_the_image_is_the_whole_image() -> None:
    model = make(size=None)
    image = picture(96, 96)
    equal(model.predict([image], tile=96)[0], model.predict([image])[0])


def test_tiles_segment_at_the_images_own_resolution(model: MultiTaskModel) -> None:
    (out,) = model.predict([picture(100, 140)], tile=64, flips=True)
    assert out["organ"].probabilities is not None
    assert out["organ"].probabilities.shape == (2, 100, 140)
    np.testing.assert_allclose(out["organ"].probabilities.sum(0), 1, atol=1e-5)
    assert out["organ"].mask is not None
    assert out["organ"].mask.shape == (100, 140)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tile": 50}, "tile must be a multiple of 32"),
        ({"tile": 32}, "from 64 on"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"tasks": ["organs"]}, "did you mean 'organ'"),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], message: str, model: MultiTaskModel) -> None:
    with pytest.raises(InputError, match=message):
        model.predict([picture()], **arguments)


def test_images_that_cannot_be_are_named(model: MultiTaskModel, tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:-300])
    np.save(tmp_path / "nan.npy", np.full((16, 16), np.nan, dtype=np.float32))
    Image.new("L", (1, 1)).save(tmp_path / "dot.png")
    for name in ("cut.png", "nan.npy", "dot.png", "absent.png"):
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            model.predict([tmp_path / "good.png", tmp_path / name])
    with pytest.raises(InputError, match="0 to 1"):
        model.predict([picture().astype(np.float32)])


# ---- the contract --------------------------------------------------------------------------------------------------
def test_one_frame_of_a_stack_predicts_as_its_own_file(model: MultiTaskModel, tmp_path: Path) -> None:
    pages = [picture(seed=i) for i in range(3)]
    images = [Image.fromarray(page) for page in pages]
    images[0].save(tmp_path / "stack.tif", save_all=True, append_images=images[1:])
    (stacked,) = model.predict([tmp_path / "stack.tif"], frame=2)
    equal(stacked, model.predict([pages[2]])[0])
    with pytest.raises(InputError, match=r"stack\.tif: 3 frames; choose one with frame=0 \.\.\. 2"):
        model.predict([tmp_path / "stack.tif"])


def test_lenient_warns_once_of_each_rule_and_predicts_as_named(model: MultiTaskModel, tmp_path: Path) -> None:
    deep = picture().astype(np.uint16) * 16
    with pytest.raises(ContractError, match="contract rule 'unit': uint16 pixels") as caught:
        model.predict([picture(), deep])
    assert caught.value.rule == "unit"
    with pytest.warns(ContractWarning, match="contract rule 'unit' bent: undeclared depth") as warned:
        out = model.predict([deep] * 5, lenient=True, batch_size=8)
    assert len(warned) == 1
    scaled = (deep.astype(np.float32) / 4095).astype(np.float32)
    equal(out[4], model.predict([scaled])[0])


def test_a_range_that_the_contract_does_not_allow_never_reaches_the_model(model: MultiTaskModel) -> None:
    image = LoadedImage("scan 7", torch.full((1, 64, 64), 3.0), None, ())
    for tasks in (["grade"], ["clean"]):
        with pytest.raises(ContractError, match="scan 7: contract rule 'range': values from 3 to 3"):
            predict_loaded(model, [image], tasks=tasks)
