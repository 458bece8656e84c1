"""What every encoder and every head must do. A test of one of them only feeds its input here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn

from umsrep.heads import ClassificationHead, DenoisingHead, Head, SegmentationHead
from umsrep.zoo import Encoder


def perturb(module: nn.Module, scale: float = 0.02, *, seed: int = 11) -> None:
    """Move every weight and every norm statistic away from its start, so that a tensor that was not stored or loaded shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))


def images(encoder: Encoder, *, batch: int = 2, height: int = 64, width: int = 64) -> Tensor:
    """Make random normalised images [batch, C, height, width] that pass the encoder's own range check."""
    generator = torch.Generator().manual_seed(5)
    unit = torch.rand(batch, encoder.contract.channels, height, width, generator=generator)
    x_BCHW = encoder.contract.normalise(unit)
    encoder.contract.check_range(x_BCHW)
    return x_BCHW


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    """Whether two pyramids are bitwise equal."""
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def timm_features(folder: Path, x_BCHW: Tensor) -> list[Tensor]:
    """The pyramid of a model folder as timm opens it, NCHW."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, features_only=True, in_chans=x_BCHW.shape[1]).eval()
    with torch.no_grad():
        features = cast(list[Tensor], model(x_BCHW))
    if getattr(model, "output_fmt", None) == "NHWC":
        features = [feature.permute(0, 3, 1, 2) for feature in features]
    return features


def timm_embedding(folder: Path, x_BCHW: Tensor) -> Tensor:
    """timm's pre-logits of a model folder."""
    model = cast(Any, timm.create_model(f"local-dir:{folder}", pretrained=True, in_chans=x_BCHW.shape[1]).eval())
    with torch.no_grad():
        return cast(Tensor, model.forward_head(model.forward_features(x_BCHW), pre_logits=True))


def smp_features(folder: Path, x_BCHW: Tensor, levels: int) -> list[Tensor]:
    """The coarsest ``levels`` maps of a model folder as smp opens it (before them smp puts the image and empty maps)."""
    model = smp.Unet(f"tu-local-dir:{folder}", encoder_weights=True, in_channels=x_BCHW.shape[1])
    with torch.no_grad():
        return cast(list[Tensor], model.encoder.eval()(x_BCHW))[-levels:]


def check_encoder(encoder: Encoder, folder: Path, *, width: int = 64, in_smp: bool = True) -> None:
    """Check one encoder: shapes, one-pass equality, freezing, and that its saved folder opens three ways to the same bits.

    Args:
        encoder: As `Encoder.create` gives it; its weights are changed.
        folder: Where to save it.
        width: Of the test images (their height is 64).
        in_smp: False where smp refuses the architecture; that it does is then checked.
    """
    perturb(encoder)
    encoder.eval()
    x_BCHW = images(encoder, width=width)
    with torch.no_grad():
        features, embedding = encoder(x_BCHW), encoder.embed(x_BCHW)
        features_both, embedding_both = encoder.forward_both(x_BCHW)

    levels = zip(encoder.channels, encoder.strides, strict=True)
    assert [tuple(f.shape) for f in features] == [(2, c, 64 // s, width // s) for c, s in levels]
    assert encoder.strides == sorted(encoder.strides)
    assert embedding.shape == (2, encoder.embedding_dim)
    assert same(features, features_both)
    assert torch.equal(embedding, embedding_both)
    assert not torch.equal(embedding[0], embedding[1])

    assert encoder.freeze() is encoder
    encoder.train()
    assert not any(m.training for m in encoder.modules())
    assert not any(p.requires_grad for p in encoder.parameters())
    encoder.unfreeze()
    assert all(m.training for m in encoder.modules())
    assert all(p.requires_grad for p in encoder.parameters())
    encoder.eval()

    assert encoder.save_pretrained(folder) == folder
    loaded = Encoder.from_pretrained(folder)
    assert not loaded.training
    assert all(p.requires_grad for p in loaded.parameters())
    assert (loaded.arch, loaded.contract, loaded.modality) == (encoder.arch, encoder.contract, encoder.modality)
    assert (loaded.channels, loaded.strides, loaded.embedding_dim) == (encoder.channels, encoder.strides, encoder.embedding_dim)
    with torch.no_grad():
        assert same(loaded(x_BCHW), features)
        assert torch.equal(loaded.embed(x_BCHW), embedding)
    assert same(timm_features(folder, x_BCHW), features)
    assert torch.equal(timm_embedding(folder, x_BCHW), embedding)
    if in_smp:
        assert same(smp_features(folder, x_BCHW, len(features)), features)
    else:
        with pytest.raises(ValueError, match="Unsupported model downsampling pattern"):
            smp_features(folder, x_BCHW, len(features))


def check_head(head: Head, encoder: Encoder, *, size: int = 64) -> None:
    """Check one unbuilt head on one encoder: its description, output, gradients, and that its weights make it again.

    Args:
        head: As its constructor gives it.
        encoder: Any encoder; it is left as it is.
        size: Height and width of the test images in pixels.
    """
    args = head.args()
    again = type(head)(**json.loads(json.dumps(args)))
    assert again.args() == args
    sizes: dict[str, Any] = {
        "channels": encoder.channels,
        "strides": encoder.strides,
        "in_channels": encoder.contract.channels,
        "embedding_dim": encoder.embedding_dim,
    }
    assert not head.built
    assert not list(head.parameters())
    head.build(**sizes)
    assert head.built
    assert head.args() == args
    head.eval()

    x_BCHW = images(encoder, height=size, width=size)
    with torch.no_grad():
        features, embedding = encoder.eval().forward_both(x_BCHW)
    dense = not isinstance(head, ClassificationHead)
    given = [x_BCHW, *features] if dense else [embedding]
    before = [t.clone() for t in given]
    inputs = [t.requires_grad_() for t in given]

    def run(one: nn.Module) -> Tensor:
        return cast(Tensor, one(inputs[0], inputs[1:]) if dense else one(inputs[0]))

    if isinstance(head, DenoisingHead):
        assert torch.equal(run(head), x_BCHW), "a new denoising head must return its input"
        shape: tuple[int, ...] = tuple(x_BCHW.shape)
    else:
        assert isinstance(head, SegmentationHead | ClassificationHead)
        shape = (2, len(head.classes), size, size) if dense else (2, len(head.classes))
    perturb(head)
    output = run(head)
    assert output.shape == shape
    assert output.dtype == torch.float32
    assert torch.isfinite(output).all()
    assert same(inputs, before), "a head must not change its inputs"

    # A ReLU may be dead for one set of weights (PAN has branches of one channel): nothing may be dead for all of them.
    without = {n for n, _ in head.named_parameters()}
    for seed in range(8):
        head.zero_grad()
        run(head).square().mean().backward()
        missing = [n for n, p in head.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
        assert not missing, f"no gradient: {missing}"
        without -= {n for n, p in head.named_parameters() if p.grad is not None and bool(p.grad.any())}
        if not without:
            break
        perturb(head, seed=seed)
        with torch.no_grad():
            for parameter in head.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.2)  # biases up: ReLUs open
    assert not without, f"no gradient: {sorted(without)}"
    assert any(t.grad is not None and bool(t.grad.any()) for t in inputs[1:] or inputs), "no gradient reaches the encoder"

    again.build(**sizes)
    again.load_state_dict(head.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(run(again.eval()), run(head))
