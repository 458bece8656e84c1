"""Decoders: each fits an encoder and gives one dense map, or names those that do."""

from __future__ import annotations

import re

import pytest
import torch

from tests.conformance import check_head, images, perturb
from umsrep.errors import InputError
from umsrep.heads import DECODERS, Decoder, SegmentationHead
from umsrep.heads.decoder import resize
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import Encoder, InputContract

ARCHS = ("resnet18", "convnextv2_atto", "vit_tiny_patch16_224")
MISFITS = {
    "resnet18": set(),
    "convnextv2_atto": {"linknet"},
    "vit_tiny_patch16_224": set(DECODERS) - {"dpt"},
}
"""Linknet adds a skip at stride 2; of the decoders only DPT reads maps that all have stride 16."""


@pytest.fixture(scope="module")
def encoders() -> dict[str, Encoder]:
    """One encoder of each kind, not to be changed."""
    return {arch: Encoder.create(arch, contract=InputContract(size=128)).eval() for arch in ARCHS}


def make(name: str, encoder: Encoder) -> Decoder:
    """A decoder for an encoder."""
    return Decoder(name, channels=encoder.channels, strides=encoder.strides, in_channels=encoder.contract.channels)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("name", DECODERS)
def test_each_decoder_fits_or_names_those_that_do(name: str, arch: str, encoders: dict[str, Encoder]) -> None:
    encoder = encoders[arch]
    if name not in MISFITS[arch]:
        check_head(SegmentationHead(2, name), encoder, size=128 if name == "pan" else 64)
        return
    with pytest.raises(InputError, match=rf"^decoder '{name}' does not fit this encoder \(strides \[") as caught:
        make(name, encoder)
    assert "\n" not in str(caught.value)
    named = re.split(r"decoders that fit: ", str(caught.value))[1].split(", ")
    assert set(named) == set(DECODERS) - MISFITS[arch]  # that these fit, the other cases of this test show


@pytest.mark.parametrize("size", [(33, 47), (65, 129)])
@pytest.mark.parametrize("arch", ARCHS)
def test_odd_sizes_go_through_the_model(arch: str, size: tuple[int, int], encoders: dict[str, Encoder]) -> None:
    encoder = encoders[arch]
    x_BCHW = images(encoder, batch=1, height=size[0], width=size[1])
    fitting = [name for name in DECODERS if name not in MISFITS[arch]]
    model = MultiTaskModel(encoder, {name: SegmentationHead(2, name) for name in fitting}).eval()
    assert list(model.decoders) == fitting
    rest = [name for name in fitting if name != "pan"]
    with torch.no_grad():
        outputs = model(x_BCHW, rest)
        assert [tuple(out.shape) for out in outputs.values()] == [(1, 2, *size)] * len(rest)
        if "pan" in fitting:
            with pytest.raises(InputError, match=r"decoder 'pan' .* images of 128 px or more"):
                model(x_BCHW, ["pan"])
            large = images(encoder, batch=1, height=130, width=127)
            assert model(large, ["pan"])["pan"].shape == (1, 2, 130, 127)
            with pytest.raises(InputError, match="decoder 'pan'"):
                model(large[..., :64], ["pan"])


@pytest.mark.parametrize("name", [n for n in DECODERS if n != "pan"])
def test_an_image_is_decoded_the_same_alone_and_in_a_batch(name: str, encoders: dict[str, Encoder]) -> None:
    encoder = encoders["resnet18"]
    decoder = make(name, encoder).eval()
    perturb(decoder)
    x_BCHW = images(encoder, batch=3)
    with torch.no_grad():
        features = encoder(x_BCHW)
        alone = decoder(x_BCHW[1:2], [f[1:2] for f in features])
        together = decoder(x_BCHW, features)
    assert alone.shape == (1, decoder.out_channels, 64 // decoder.stride, 64 // decoder.stride)
    assert alone.std() > 0
    torch.testing.assert_close(together[1:2], alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", DECODERS)
def test_a_single_annotated_image_can_be_trained_on(name: str, encoders: dict[str, Encoder]) -> None:
    # In a joint batch one row may be the only one with a mask.
    encoder = encoders["resnet18"]
    decoder = make(name, encoder).train()
    x_BCHW = images(encoder, batch=1, height=128, width=128)
    with torch.no_grad():
        features = encoder(x_BCHW)
    out = decoder(x_BCHW, features)
    out.square().mean().backward()
    assert torch.isfinite(out).all()


def test_resize_is_exact_where_nothing_changes_and_bilinear_elsewhere() -> None:
    x_BCHW = torch.tensor([[0.0, 1.0]]).reshape(1, 1, 1, 2)
    assert resize(x_BCHW, 1, 2) is x_BCHW
    assert resize(x_BCHW, 1, 4).flatten().tolist() == [0, 0.25, 0.75, 1]


def test_unknown_decoder_names_the_nearest(encoders: dict[str, Encoder]) -> None:
    with pytest.raises(InputError, match=r"^unknown decoder 'unet\+\+'; did you mean .*'unet'"):
        make("unet++", encoders["resnet18"])


@pytest.mark.parametrize(
    ("strides", "reason"),
    [([2, 4, 8, 16], "a map at stride 32"), ([3, 6, 12, 24], "a power of two"), ([2, 2, 4, 32], "different strides")],
)
def test_odd_pyramids_are_refused_with_the_reason(strides: list[int], reason: str) -> None:
    with pytest.raises(InputError, match=f"{reason}.*; decoders that fit: "):
        Decoder("unet", channels=[8, 16, 32, 64], strides=strides, in_channels=1)


@pytest.mark.parametrize("strides", [[1, 2, 4, 8, 16, 32], [4, 8, 16, 32], [8, 16, 32]])
@pytest.mark.parametrize("name", ["unet", "fpn", "dpt"])
def test_a_decoder_needs_no_encoder_and_what_it_takes_it_runs(name: str, strides: list[int]) -> None:
    channels = [8 * (i + 1) for i in range(len(strides))]
    try:
        decoder = Decoder(name, channels=channels, strides=strides, in_channels=3)
    except InputError as error:
        assert name not in str(error).partition("decoders that fit: ")[2].split(", ")  # noqa: PT017 - either outcome is right
        return
    x_BCHW = torch.rand(2, 3, 64, 96)
    features = [torch.rand(2, c, 64 // s, 96 // s) for c, s in zip(channels, strides, strict=True)]
    assert decoder.stride in (1, 2, 4, 8)
    with torch.no_grad():
        assert decoder.eval()(x_BCHW, features).shape == (2, decoder.out_channels, 64 // decoder.stride, 96 // decoder.stride)


def test_fitting_a_decoder_leaves_the_random_state_alone_for_misfits(encoders: dict[str, Encoder]) -> None:
    state = torch.get_rng_state()
    with pytest.raises(InputError):
        make("unet", encoders["vit_tiny_patch16_224"])
    assert torch.equal(torch.get_rng_state(), state), "looking for decoders that fit must not draw random numbers"
