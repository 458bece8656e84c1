"""Encoder: any timm backbone as a feature pyramid and an embedding."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from umsrep.errors import InputError, nearest
from umsrep.zoo import hub
from umsrep.zoo.construction import Construction, TooLarge, recompute, unfilled
from umsrep.zoo.folder import numbers
from umsrep.zoo.input_contract import InputContract


class Encoder(nn.Module, hub.Publishable):
    """A timm backbone without its classifier, seen as a pyramid of feature maps and as one embedding.

    The feature maps are bitwise those of ``timm.create_model(..., features_only=True)`` with the same weights (NCHW; timm gives
    Swin as NHWC), the embedding is timm's pre-logits. Both come from one pass in `forward_both`.

    Attributes:
        channels: Channels of each feature map, finest first.
        strides: Input pixels per feature pixel of each map, finest first.
        embedding_dim: D of `embed`, 1,280 for EfficientNet-Lite0.
        contract: What an input image must be.
        arch: timm's name of the architecture.
        modality: For whom the weights were trained ("cxr", "us", ...), or None.
    """

    def __init__(
        self, model: nn.Module, *, arch: str, contract: InputContract, model_args: Mapping[str, Any], modality: str | None = None
    ) -> None:
        """Wrap a timm model; use `create` or `from_pretrained` instead."""
        super().__init__()
        if not hasattr(model, "forward_intermediates") or not hasattr(model, "forward_head"):
            raise InputError(f"arch '{arch}' gives no feature maps in timm {timm.__version__}; see timm.list_models()")
        self.model = model
        self.arch = arch
        self.contract = contract
        self.modality = modality
        self.model_args = dict(model_args)
        info = cast(Any, model).feature_info
        # Those of features_only: five levels where the model has stages, the last three blocks of a plain ViT.
        count = len(info)
        plain = len({level["reduction"] for level in info}) == 1
        self._indices = list(range(count))[-3:] if plain else list(range(count))
        self.channels: list[int] = [int(info[i]["num_chs"]) for i in self._indices]
        self.strides: list[int] = [int(info[i]["reduction"]) for i in self._indices]
        self.embedding_dim = int(getattr(model, "head_hidden_size", None) or cast(Any, model).num_features)

    # ---- making ----------------------------------------------------------------------------------------------------
    @classmethod
    def create(cls, arch: str, *, contract: InputContract, weights: str | Path | None = None, modality: str | None = None) -> Encoder:
        """Build an encoder from an architecture name.

        Args:
            arch: Any timm architecture with feature maps; ``hf-hub:org/repo`` or ``local-dir:folder`` also bring timm's weights.
            contract: What the input is; ``contract.channels`` sets the input channels.
            weights: safetensors file in timm's key names (classifier tensors are left out), or None for random weights.
                RGB weights become C channels by timm's rule: for 1 channel the three kernels are summed (equal to feeding the grey
                image three times), for other C they are repeated in turn and scaled by 3 / C.
            modality: Recorded in config.json.

        Returns:
            The encoder, in training mode.

        Raises:
            InputError: for an unknown architecture (with the nearest names), or weights whose names or shapes do not fit.
        """
        pretrained = arch.startswith(("hf-hub:", "local-dir:"))
        if pretrained and weights is not None:
            raise InputError(f"'{arch}' brings its own weights; leave out weights={weights}")
        if not pretrained and not timm.is_model(arch):
            raise InputError(f"unknown arch '{arch}'{nearest(arch, timm.list_models())}")
        if pretrained:
            hub.check_timm_source(arch)
        model, args = _build(arch, contract, pretrained=pretrained)
        if pretrained:
            arch = str(cast(Any, model).pretrained_cfg.get("architecture") or arch)
        encoder = cls(model, arch=arch, contract=contract, model_args=args, modality=modality)
        if weights is not None:
            encoder.load_weights(hub.read_tensors(Path(weights)), where=str(weights))
        return encoder

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> Encoder:
        """Load an encoder with its weights, in evaluation mode.

        Args:
            name: A preset (see `list_encoders`), ``org/repo`` on the Hugging Face Hub, or a folder.
            revision: Branch, tag or 40-digit commit on the Hub.
            token: Hub token; default is HF_TOKEN or the stored one, False for none.
            cache_dir: Where downloads are kept.
            local_files_only: Never touch the network.

        Raises:
            InputError: for an unknown name, an unreachable repository, or files that are missing, damaged or do not fit.
        """
        source = hub.open_source(str(name), revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only)
        return cls.from_source(source)

    @classmethod
    def from_source(cls, source: hub.Source) -> Encoder:
        """Load an encoder from opened files; see `from_pretrained`."""
        config, where = source.config, str(source.folder / hub.CONFIG_FILE)
        block, arch, stored_args = config["umsrep"], config["architecture"], config.get("model_args") or {}
        try:
            contract = InputContract.from_dict(block["contract"])
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        if not timm.is_model(arch):
            raise InputError(f"{where}: unknown arch '{arch}'{nearest(arch, timm.list_models())}")

        def build() -> Encoder:
            model, args = _build(arch, contract, pretrained=False, args=stored_args, where=where)
            return cls(model, arch=arch, contract=contract, model_args=args, modality=block.get("modality"))

        with ThreadPoolExecutor(1) as reader:  # download, reading and hashing leave the interpreter free to build the model meanwhile
            reading = reader.submit(source.tensors, hub.ENCODER_FILE)
            if numbers(stored_args):  # the file chooses sizes: they must be those of its weights before memory is taken
                with Construction(where), torch.device("meta"):
                    trial = build()
                trial._fitting(reading.result(), where)
            try:
                with Construction(where):
                    encoder = build()
            except TooLarge:
                raise
            except InputError:  # an architecture that computes with its initial values: build it as timm does
                encoder = build()
            tensors = reading.result()
        weights = str(source.folder / hub.ENCODER_FILE)
        encoder.load_weights(tensors, where=weights, assign=True)
        recompute(encoder)
        if unfilled(encoder):
            encoder = build()
            encoder.load_weights(tensors, where=weights, assign=True)
        stored_features = config.get("num_features", own := int(cast(Any, encoder.model).num_features))
        if stored_features != own:
            raise InputError(f"{where}: num_features is {str(stored_features)[:40]}, but {arch} has {own:,}")
        return encoder.eval()

    def load_weights(self, tensors: Mapping[str, Tensor], *, where: str, assign: bool = False) -> None:
        """Load tensors in timm's key names, strictly.

        Args:
            tensors: Name to tensor; classifier tensors of a full timm checkpoint are left out.
            where: Named in the error.
            assign: Take the tensors themselves instead of copying into existing ones (faster).

        Raises:
            InputError: if any name or shape does not fit; nothing is loaded then.
        """
        given = self._fitting(tensors, where)
        if assign:
            own = self.model.state_dict()
            given = {k: v.to(own[k].dtype) for k, v in given.items()}
        self.model.load_state_dict(given, strict=True, assign=assign)

    def _fitting(self, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
        """Return those of the tensors that the model needs, or refuse what does not fit."""
        own = self.model.state_dict()
        config = cast(Any, self.model).pretrained_cfg
        classifiers = config.get("classifier") or "classifier"
        prefixes = tuple(f"{c}." for c in ([classifiers] if isinstance(classifiers, str) else classifiers))
        given = {k: v for k, v in tensors.items() if k in own or not k.startswith(prefixes)}
        stems = config.get("first_conv") or ()
        for stem in [stems] if isinstance(stems, str) else stems:
            key = f"{stem}.weight"
            if key in given and key in own and given[key].shape != own[key].shape and given[key].shape[1] == 3:
                given[key] = adapt_channels(given[key], self.contract.channels)
        missing, unexpected = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
        if missing or unexpected:
            parts = [
                f"{len(names)} {what} (first: {names[0]})" for what, names in (("missing", missing), ("unexpected", unexpected)) if names
            ]
            raise InputError(f"{where}: weights do not fit {self.arch}: {', '.join(parts)}")
        for key, value in given.items():
            if value.shape != own[key].shape:
                raise InputError(f"{where}: {key} has shape {tuple(value.shape)}, {self.arch} wants {tuple(own[key].shape)}")
            if value.is_floating_point() != own[key].is_floating_point():
                raise InputError(f"{where}: {key} is of type {value.dtype}, {self.arch} wants {own[key].dtype}")
        return given

    # ---- using -----------------------------------------------------------------------------------------------------
    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Return the feature pyramid.

        Args:
            x_BCHW: Images as `contract.load` gives them; H and W divisible by ``max(strides)``.

        Returns:
            One [B, channels[i], H / strides[i], W / strides[i]] a level, finest first.

        Raises:
            InputError: for anything but a batch of floating-point images with the contract's channels.
        """
        self._check(x_BCHW)
        return cast(
            list[Tensor],
            cast(Any, self.model).forward_intermediates(x_BCHW, indices=self._indices, intermediates_only=True, output_fmt="NCHW"),
        )

    def embed(self, x_BCHW: Tensor) -> Tensor:
        """Return timm's pre-logits, [B, embedding_dim]."""
        self._check(x_BCHW)
        model = cast(Any, self.model)
        return cast(Tensor, model.forward_head(model.forward_features(x_BCHW), pre_logits=True))

    def forward_both(self, x_BCHW: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return (`forward`, `embed`) from one pass."""
        self._check(x_BCHW)
        model = cast(Any, self.model)
        last, features = model.forward_intermediates(x_BCHW, indices=self._indices, output_fmt="NCHW")
        return features, model.forward_head(last, pre_logits=True)

    def _check(self, x_BCHW: Tensor) -> None:
        """Refuse what would fail inside timm or be misread: NumPy arrays, stored integers, single images, other channels."""
        channels = self.contract.channels
        if not isinstance(x_BCHW, Tensor) or not x_BCHW.is_floating_point() or x_BCHW.ndim != 4 or x_BCHW.shape[1] != channels:
            given = f"{x_BCHW.dtype} {tuple(x_BCHW.shape)}" if hasattr(x_BCHW, "shape") else type(x_BCHW).__name__
            raise InputError(
                f"{self.arch} wants a float tensor [B, {channels}, H, W] as its contract loads it (encoder.contract.load(image)[None]), "
                f"not {given}"
            )

    def freeze(self) -> Encoder:
        """Stop training: no gradients, and batch norm and dropout in evaluation mode, also after `train()`."""
        self.requires_grad_(False)
        self._frozen = True
        return self.eval()

    def unfreeze(self) -> Encoder:
        """Undo `freeze`."""
        self.requires_grad_(True)
        self._frozen = False
        return self.train()

    _frozen: bool = False

    def train(self, mode: bool = True) -> Encoder:
        """Set training mode; a frozen encoder stays in evaluation mode."""
        super().train(mode and not self._frozen)
        return self

    # ---- saving ----------------------------------------------------------------------------------------------------
    def config(self) -> dict[str, Any]:
        """Return config.json's content without checksums: timm's own keys and the ``umsrep`` block."""
        height, width = self.contract.size if isinstance(self.contract.size, tuple) else (224, 224)
        as_tuple = {
            n: list(v) if isinstance(v := getattr(self.contract, n), tuple) else [v] * self.contract.channels for n in ("mean", "std")
        }
        return {
            "architecture": self.arch,
            "num_classes": 0,
            "num_features": int(cast(Any, self.model).num_features),
            "model_args": self.model_args,
            "pretrained_cfg": {
                "architecture": self.arch,
                "tag": "umsrep",
                "input_size": [self.contract.channels, height, width],
                **as_tuple,
                "interpolation": "bilinear",
                "crop_pct": 1.0,
                "num_classes": 0,
                "pool_size": None,
                # no first_conv, no classifier: the tensors are stored as they are used, timm has nothing to adapt
                "first_conv": None,
                "classifier": None,
            },
            "umsrep": {
                "contract": self.contract.to_dict(),
                "modality": self.modality,
                "features": {"channels": list(self.channels), "strides": list(self.strides), "embedding_dim": self.embedding_dim},
                "heads": {},
            },
        }

    def save_pretrained(self, folder: str | Path, *, card: str | None = None, half: bool = False) -> Path:
        """Write the model folder: config.json, model.safetensors, README.md.

        Args:
            folder: Made if absent; files of the same name are replaced.
            card: Text of README.md; default is a short card made from the configuration.
            half: Store float16 (batch-norm tensors and biases stay float32).

        Returns:
            The folder.
        """
        return hub.write_folder(Path(folder), self.config(), {hub.ENCODER_FILE: self.model.state_dict()}, card=card, half=half)


def adapt_channels(weight_OCkk: Tensor, channels: int) -> Tensor:
    """Bring an RGB kernel [O, 3, k, k] to ``channels`` inputs by timm's rule (sum for 1; repeat in turn, times 3 / C, otherwise)."""
    weight = weight_OCkk.float()
    if channels == 1:
        weight = weight.sum(dim=1, keepdim=True)
    elif channels != 3:
        repeats = -(-channels // 3)
        weight = weight.repeat(1, repeats, 1, 1)[:, :channels] * (3.0 / channels)
    return weight.to(weight_OCkk.dtype)


def _build(
    arch: str, contract: InputContract, *, pretrained: bool, args: Mapping[str, Any] | None = None, where: str | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """Make the timm model without classifier; returns it and the arguments that config.json must repeat."""
    if not pretrained and not timm.is_model(arch):
        raise InputError(f"unknown arch '{arch}'{nearest(arch, timm.list_models())}")
    try:
        if args is None:
            args = _size_arguments(arch, contract)
        model = timm.create_model(arch, pretrained=pretrained, num_classes=0, in_chans=contract.channels, **args)
        if pretrained:  # the folder's or repository's own arguments, which timm applied
            args = {**(getattr(model, "pretrained_model_args", None) or {}), **args}
    except TooLarge:
        raise
    except (TypeError, ValueError, RuntimeError, AssertionError, FileNotFoundError, LookupError, AttributeError, ArithmeticError) as error:
        # the arguments in config.json are anybody's, and timm looks up names in them
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        first = f"{type(error).__name__}: {first}" if isinstance(error, LookupError) else first
        place = f"{where}: " if where else ""
        raise InputError(
            f"{place}arch '{arch}' cannot be built with {contract.channels} channel(s) at size {contract.size}: {first}"
        ) from error
    return model, dict(args)


def _size_arguments(arch: str, contract: InputContract) -> dict[str, Any]:
    """Return what a transformer needs to take other sizes than it was defined for; nothing for a CNN.

    timm's constructors do not say which arguments they take, so each is tried on the meta device, which costs no memory.
    """
    tries: list[dict[str, Any]] = [{"dynamic_img_size": True}]
    if contract.size is not None:
        tries.append({"img_size": list(contract.size) if isinstance(contract.size, tuple) else contract.size})
    for extra in tries:
        try:
            with torch.device("meta"):
                timm.create_model(arch, pretrained=False, num_classes=0, in_chans=contract.channels, **extra)
        except TypeError:
            continue
        return extra
    return {}
