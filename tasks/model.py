"""MultiTaskModel: one encoder, named heads."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F

from umsrep.errors import InputError, nearest
from umsrep.heads import HEADS, ClassificationHead, Decoder, DenoisingHead, Head, SegmentationHead
from umsrep.tasks.guard import Guard, GuardMode, attach, fingerprint, load_guard
from umsrep.tasks.predict import Image, Prediction, predict
from umsrep.zoo import Encoder, hub
from umsrep.zoo.construction import Construction, TooLarge

AnyHead = DenoisingHead | SegmentationHead | ClassificationHead
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class MultiTaskModel(nn.Module, hub.Publishable):
    """One encoder and any number of named heads on it.

    Dense heads (denoising, segmentation) that share and have the same decoder use one decoder together: it runs once an image.

    Attributes:
        encoder: The shared encoder.
        heads: Name to head.
        decoders: Shared decoders by name.
        guard: What flags pictures unlike the training pictures in `predict`; None where the model has none.
    """

    def __init__(self, encoder: Encoder, heads: Mapping[str, Head]) -> None:
        """Join an encoder and heads; heads that have no weights yet are built for this encoder.

        Args:
            encoder: The shared encoder.
            heads: Name to head; names are letters, digits, ``_`` and ``-``.

        Raises:
            InputError: if a decoder does not fit the encoder (naming those that do), or a name is not usable.
        """
        super().__init__()
        self.guard: Guard | None = None
        self.encoder = encoder
        self.heads = nn.ModuleDict()
        self.decoders = nn.ModuleDict()
        for name, head in heads.items():
            self.add_head(name, head)

    def add_head(self, name: str, head: Head) -> None:
        """Add a head; the encoder and the other heads stay as they are.

        Raises:
            InputError: if the name is taken or not usable, or the head does not fit the encoder.
        """
        if not _NAME.fullmatch(name) or hasattr(nn.ModuleDict, name):
            raise InputError(f"'{name}' cannot name a head: use letters, digits, '_' and '-', and no word of Python's dict")
        if name in self.heads:
            raise InputError(f"there is already a head '{name}'")
        if not isinstance(head, DenoisingHead | SegmentationHead | ClassificationHead):
            raise InputError(f"'{name}' is no head of umsrep.heads but a {type(head).__name__}")
        if not head.built:
            self._build(head)
        self.heads[name] = head.to(next(self.encoder.parameters()).device)

    def name_unit(self, unit: str) -> None:
        """Take stored values to be in this unit where the contract leaves it open (`InputContract.with_unit`); the guard stays.

        The guard looks at images in 0-1, which another depth of the files does not change.
        """
        fits = self.guard is not None and self.guard.fingerprint == fingerprint(self.encoder)
        self.encoder.contract = self.encoder.contract.with_unit(unit)
        if self.guard is not None and fits:
            self.guard = dataclasses.replace(self.guard, fingerprint=fingerprint(self.encoder))

    def remove_head(self, name: str) -> None:
        """Take a head out, with its shared decoder where no other head uses it."""
        self.check_tasks([name])
        del self.heads[name]
        used = {head.decoder_name for head in self.heads.values() if isinstance(head, DenoisingHead | SegmentationHead) and head.share}
        for decoder in set(self.decoders) - used:
            del self.decoders[decoder]

    def _build(self, head: AnyHead) -> None:
        encoder = self.encoder
        sizes: dict[str, Any] = {
            "channels": encoder.channels,
            "strides": encoder.strides,
            "in_channels": encoder.contract.channels,
        }
        if isinstance(head, ClassificationHead) or not head.share:
            head.build(**sizes, embedding_dim=encoder.embedding_dim)
            return
        if head.decoder_name not in self.decoders:
            self.decoders[head.decoder_name] = Decoder(head.decoder_name, **sizes).to(next(encoder.parameters()).device)
        shared = cast(Decoder, self.decoders[head.decoder_name])
        head.build(**sizes, embedding_dim=encoder.embedding_dim, shared=shared)

    # ---- running ---------------------------------------------------------------------------------------------------
    def forward(self, x_BCHW: Tensor, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Run one pass of the encoder and the heads.

        Args:
            x_BCHW: Images as ``encoder.contract`` gives them, of any size (padded inside, cropped back).
            tasks: Names of heads; None for all.

        Returns:
            Head's name to output: segmentation logits [B, K, H, W], class logits [B, K], the clean image [B, C, H, W] in the unit of x.
        """
        return self.run(x_BCHW, self.check_tasks(tasks))[0]

    def run(self, x_BCHW: Tensor, names: Sequence[str], *, seen: bool = False) -> tuple[dict[str, Tensor], list[Tensor], Tensor | None]:
        """Return what `forward` gives for these heads, with the pyramid and the embedding; ``seen`` asks for the pyramid in any case."""
        padded, size = self.pad(x_BCHW)
        features, embedding = self.encode(padded, names, seen=seen)
        outputs = self.run_heads(padded, features, embedding, dict.fromkeys(names))
        cropped = {name: out[..., : size[0], : size[1]] if out.ndim == 4 else out for name, out in outputs.items()}
        return cropped, features, embedding

    def check_tasks(self, tasks: Sequence[str] | None) -> list[str]:
        """Return the heads' names, all for None, or refuse an unknown one."""
        for name in tasks or ():
            if name not in self.heads:
                raise InputError(f"no head '{name}'{nearest(name, self.heads)}")
        return list(self.heads) if tasks is None else list(tasks)

    def pad(self, x_BCHW: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Pad right and bottom with the edge pixels to what the strides need; returns the image and its size before."""
        height, width = x_BCHW.shape[-2:]
        bottom, right = -height % self.step, -width % self.step
        if not bottom and not right:
            return x_BCHW, (height, width)
        return F.pad(x_BCHW, (0, right, 0, bottom), mode="replicate"), (height, width)

    @property
    def step(self) -> int:
        """What height and width are padded to a multiple of."""
        return max(32, *self.encoder.strides)

    def encode(self, padded_BCHW: Tensor, names: Iterable[str], *, seen: bool = False) -> tuple[list[Tensor], Tensor | None]:
        """Run the encoder once, as far as these heads need it: the pyramid (if ``seen`` always), the embedding if one classifies."""
        kinds = {isinstance(self.heads[name], ClassificationHead) for name in names}
        if kinds == {True} and not seen:
            return [], self.encoder.embed(padded_BCHW)
        if True in kinds:
            return self.encoder.forward_both(padded_BCHW)
        return self.encoder(padded_BCHW), None

    def run_heads(
        self, padded_BCHW: Tensor, features: list[Tensor], embedding: Tensor | None, rows: Mapping[str, Tensor | None]
    ) -> dict[str, Tensor]:
        """Run heads on encoded images.

        Args:
            padded_BCHW: The images that were encoded.
            features: Their pyramid.
            embedding: Their embedding, or None if no head classifies.
            rows: Head's name to the row numbers it shall see, or None for all.

        Returns:
            Head's name to its output for its rows, at padded size.
        """
        outputs: dict[str, Tensor] = {}
        dense: dict[str, Tensor] = {}
        for name, selected in rows.items():
            head = self.heads[name]
            if isinstance(head, ClassificationHead):
                assert embedding is not None
                outputs[name] = head(embedding if selected is None else embedding[selected])
                continue
            assert isinstance(head, DenoisingHead | SegmentationHead)
            key = head.decoder_name
            if head.decoder is None and _same_rows(rows, self.heads, key):
                if key not in dense:  # the heads that share this decoder see the same rows: decode once
                    dense[key] = self.decoders[key](*_select(padded_BCHW, features, selected))
                outputs[name] = head(_take(padded_BCHW, selected), [], dense[key])
                continue
            image, maps = _select(padded_BCHW, features, selected)
            outputs[name] = head(image, maps, None if head.decoder is not None else self.decoders[key](image, maps))
        return outputs

    def predict(
        self,
        images: Sequence[Image],
        tasks: Sequence[str] | None = None,
        batch_size: int = 8,
        tile: int | None = None,
        flips: bool = False,
        *,
        frame: int | None = None,
        lenient: bool = False,
        guard: GuardMode = "warn",
        denoise_first: bool = False,
    ) -> list[dict[str, Prediction]]:
        """Predict on stored images; see `umsrep.tasks.predict.predict`."""
        return predict(
            self,
            images,
            tasks=tasks,
            batch_size=batch_size,
            tile=tile,
            flips=flips,
            frame=frame,
            lenient=lenient,
            guard=guard,
            denoise_first=denoise_first,
        )

    def export(self, path: str | Path, format: str = "onnx") -> Path:
        """Export all heads with named outputs and dynamic batch and size; see `umsrep.tasks.export.export`."""
        from umsrep.tasks.export import export

        return export(self, Path(path), format)

    # ---- saving and loading ----------------------------------------------------------------------------------------
    def config(self) -> dict[str, Any]:
        """Return config.json's content without checksums."""
        config = self.encoder.config()
        heads = {name: {"kind": head.kind, "args": head.args()} for name, head in self.heads.items() if isinstance(head, Head)}
        config["umsrep"]["heads"] = heads
        return config

    def head_tensors(self) -> dict[str, Tensor]:
        """Return all weights that are not the encoder's."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith("encoder.")}

    def save_pretrained(self, folder: str | Path, *, card: str | None = None, half: bool = False) -> Path:
        """Write config.json, model.safetensors, heads.safetensors and README.md. Arguments as in `Encoder.save_pretrained`.

        A guard goes with them as reference.safetensors, if the encoder is still the one it was made for and is not rounded (``half``).
        """
        files = {hub.ENCODER_FILE: self.encoder.model.state_dict(), hub.HEADS_FILE: self.head_tensors()}
        written = hub.write_folder(Path(folder), self.config(), files, card=card, half=half)
        if self.guard is not None and not half and self.guard.fingerprint == fingerprint(self.encoder):
            attach(written, self.guard)
        return written

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> MultiTaskModel:
        """Load a model with its heads, in evaluation mode. Arguments and errors as in `Encoder.from_pretrained`."""
        source = hub.open_source(str(name), revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only)
        entries = source.config["umsrep"]["heads"]
        if not entries:
            raise InputError(f"{source.folder}: an encoder without heads; load it with Encoder.from_pretrained")
        encoder = Encoder.from_source(source)
        where = str(source.folder / hub.HEADS_FILE)
        tensors = source.tensors(hub.HEADS_FILE)
        with Construction(where, elements=2 * sum(t.numel() for t in tensors.values()) + 1_000_000, empty_on_meta=False):
            try:
                model = cls(encoder, {head: head_from_config(head, entry) for head, entry in entries.items()})
            except TooLarge:
                raise
            except (TypeError, ValueError, RuntimeError, LookupError, AttributeError) as error:  # arguments of types no head takes
                raise InputError(f"{source.folder / hub.CONFIG_FILE}: its heads cannot be built ({error})") from error
        own = model.head_tensors()
        if wrong := sorted(own.keys() ^ tensors.keys()) or [k for k in own if not _alike(own[k], tensors[k])]:
            raise InputError(f"{where}: does not fit the heads in config.json (first: {wrong[0]})")
        given = {k: v.to(own[k].dtype) for k, v in tensors.items()}
        model.load_state_dict(given, strict=False, assign=True)  # the encoder's keys are already loaded, the rest was just checked
        model.guard = load_guard(source)
        return model.eval()


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.is_floating_point() == b.is_floating_point()


def head_from_config(name: str, entry: Mapping[str, Any]) -> AnyHead:
    """Make an unbuilt head from its ``{kind, args}``, or refuse an unknown kind or argument."""
    kind = entry.get("kind") if isinstance(entry, Mapping) else None
    if not isinstance(kind, str) or kind not in HEADS:
        raise InputError(f"head '{name}': unknown kind {kind!r}{nearest(str(kind), HEADS)}")
    try:
        return HEADS[kind](**entry.get("args", {}))
    except TypeError as error:
        raise InputError(f"head '{name}': {error}") from error


@contextlib.contextmanager
def running_statistics(*modules: nn.Module) -> Iterator[None]:
    """Let the batch norms of these modules use, and not touch, their running statistics.

    Noisy images go through the shared encoder this way while it trains: their statistics differ from those of clean images, and in
    use there is only one set of running statistics, the clean images'.
    """
    norms = [m for module in modules for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = True


def _same_rows(rows: Mapping[str, Tensor | None], heads: nn.ModuleDict, decoder: str) -> bool:
    wanted = [s for n, s in rows.items() if getattr(heads[n], "decoder_name", None) == decoder and cast(Any, heads[n]).decoder is None]
    return all(s is wanted[0] for s in wanted)


def _take(x: Tensor, rows: Tensor | None) -> Tensor:
    return x if rows is None else x[rows]


def _select(x: Tensor, features: list[Tensor], rows: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    return (x, features) if rows is None else (x[rows], [f[rows] for f in features])
