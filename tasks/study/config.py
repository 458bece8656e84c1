"""The configuration of a Transfusion study: encoders, initialisations and seeds around one fine-tuning configuration."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from umsrep.errors import InputError, nearest
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.config_file import apply_overrides, config_from_dict, read_mapping

PLAIN = ("random", "mean-var", "gabor", "pretrained")
STAGED = ("transfuse", "frozen")
NEEDS_WEIGHTS = ("mean-var", "pretrained", *STAGED)
_SET_HERE = ("output", "seed", "strategy", "trainable_stages", "schema_version")


@dataclasses.dataclass(frozen=True)
class Init:
    """How an encoder begins.

    Attributes:
        kind: random; mean-var, gabor (see `umsrep.zoo.transfusion`); pretrained; transfuse, the first stages from the pretrained
            weights and the others random, all of which train; or frozen, the same with the first stages never training.
        stages: Of transfuse and frozen.
    """

    kind: str
    stages: int | None = None

    @classmethod
    def parse(cls, text: str) -> Init:
        """Read ``kind`` or ``kind:stages``."""
        kind, colon, stages = str(text).partition(":")
        if kind not in (*PLAIN, *STAGED):
            raise InputError(f"study: unknown init '{text}'{nearest(kind, [*PLAIN, *STAGED])}")
        if (kind in STAGED) != bool(re.fullmatch(r"[1-9]\d?", stages)) or bool(colon) != (kind in STAGED):
            wanted = f"{kind}:STAGES with a number from 1" if kind in STAGED else f"{kind} alone"
            raise InputError(f"study: init '{text}': write {wanted}")
        return cls(kind, int(stages) if stages else None)

    def __str__(self) -> str:
        """Return what `parse` reads."""
        return self.kind if self.stages is None else f"{self.kind}:{self.stages}"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training run of the study."""

    arch: str
    weights: str | None
    init: Init
    seed: int

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"{self.arch}_{str(self.init).replace(':', '-')}_{self.seed}"


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """A Transfusion study.

    Attributes:
        output: Folder for results, figures and cells.
        seeds: Of weights, order and augmentation; each cell runs with each.
        encoders: timm architecture to its weights file (None where there is none) and its initialisations.
        base: The fine-tuning configuration but for encoder arch and weights, output, seed and strategy.
        task: The classification task whose AUROC is followed.
        threshold: Validation AUROC whose first reaching is counted in steps.
        similarity_images: Validation images on which representations before and after are compared.
    """

    output: str
    seeds: tuple[int, ...]
    encoders: dict[str, tuple[str | None, tuple[Init, ...]]]
    base: dict[str, Any]
    task: str
    threshold: float
    similarity_images: int = 256

    def cells(self) -> Iterator[Cell]:
        """Give all runs, seed by seed, so that a study that was stopped early has whole seeds."""
        for seed in self.seeds:
            for arch, (weights, inits) in self.encoders.items():
                for init in inits:
                    yield Cell(arch, weights, init, seed)

    def run_config(self, cell: Cell, *, output: Path, weights: str | None, **changes: Any) -> FineTuneConfig:
        """Return the fine-tuning configuration of a cell that starts from a weights file (None for random weights)."""
        encoder = {**self.base.get("encoder", {}), "arch": cell.arch, "weights": weights}
        # batch norm as without weights: "auto" would freeze the statistics that the paper's initialisations reset
        values = {"batch_norm": "clean", **self.base, "encoder": encoder, "output": str(output), "seed": cell.seed, **changes}
        return config_from_dict(values, where="study: base")


def load_study(path: str | Path, overrides: Sequence[str] = ()) -> StudyConfig:
    """Read a study from YAML.

    Args:
        path: The file; relative paths in it are relative to the working directory.
        overrides: ``--key.key value``, as for ``umsrep finetune``.

    Raises:
        InputError: naming the key that is unknown, missing or wrong.
    """
    values = read_mapping(Path(path))
    return study_from_dict(apply_overrides(values, overrides), where=str(path))


def study_from_dict(values: Mapping[str, Any], *, where: str = "study") -> StudyConfig:
    """Check plain values and make the study; errors as in `load_study`."""
    known = [field.name for field in dataclasses.fields(StudyConfig)] + ["schema_version"]
    for key in values:
        if key not in known:
            raise InputError(f"{where}: unknown key '{key}'{nearest(str(key), known)}")
    for key in ("output", "seeds", "encoders", "base", "threshold"):
        if key not in values:
            raise InputError(f"{where}: missing key '{key}'")
    if values.get("schema_version", 1) != 1:
        raise InputError(f"{where}: schema_version must be 1, not {values['schema_version']}")
    seeds, threshold, images = values["seeds"], values["threshold"], values.get("similarity_images", 256)
    if not isinstance(seeds, list) or not seeds or any(type(s) is not int or s < 0 for s in seeds) or len(set(seeds)) < len(seeds):
        raise InputError(f"{where}: seeds must be a list of different whole numbers from 0, not {seeds}")
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold < 1:
        raise InputError(f"{where}: threshold must be an AUROC between 0 and 1, not {threshold}")
    if type(images) is not int or images < 4:
        raise InputError(f"{where}: similarity_images must be a whole number from 4, not {images}")
    base = values["base"]
    if not isinstance(base, dict):
        raise InputError(f"{where}: base must be a fine-tuning configuration, not {base!r}")
    encoder = base.get("encoder", {})
    for key in [k for k in _SET_HERE if k in base] + [f"encoder.{k}" for k in ("arch", "name", "weights") if k in encoder]:
        raise InputError(f"{where}: base.{key} is set by the study for each run; leave it out")
    encoders = {str(arch): _encoder(str(arch), given, where) for arch, given in _mapping(values["encoders"], "encoders", where).items()}
    study = StudyConfig(str(values["output"]), tuple(seeds), encoders, dict(base), "", float(threshold), images)
    config = study.run_config(next(study.cells()), output=Path(study.output), weights=None)  # every fault of base shows before a run
    found = [name for name, task in config.tasks.items() if task.kind == "classification"]
    task = values.get("task") or (found[0] if len(found) == 1 else None)
    if task not in found:
        raise InputError(
            f"{where}: task must name the classification task to follow, one of: {', '.join(found) or 'there is none in base'}"
        )
    return dataclasses.replace(study, task=task)


def _encoder(arch: str, given: Any, where: str) -> tuple[str | None, tuple[Init, ...]]:
    given = _mapping(given, f"encoders.{arch}", where)
    for key in given:
        if key not in ("weights", "inits"):
            raise InputError(f"{where}: unknown key 'encoders.{arch}.{key}'{nearest(str(key), ['weights', 'inits'])}")
    weights, texts = given.get("weights"), given.get("inits")
    if not isinstance(texts, list) or not texts:
        raise InputError(f"{where}: encoders.{arch}.inits must be a list of: {', '.join(PLAIN)}, transfuse:STAGES, frozen:STAGES")
    inits = tuple(Init.parse(text) for text in texts)
    if len(set(inits)) < len(inits):
        raise InputError(f"{where}: encoders.{arch}.inits holds one twice")
    needing = [str(init) for init in inits if init.kind in NEEDS_WEIGHTS]
    if needing and weights is None:
        raise InputError(f"{where}: encoders.{arch}: init '{needing[0]}' needs weights, a safetensors file")
    if weights is not None and not Path(weights).is_file():
        raise InputError(f"{where}: encoders.{arch}.weights: no such file: {weights}")
    return (None if weights is None else str(weights)), inits


def _mapping(value: Any, key: str, where: str) -> dict[Any, Any]:
    if not isinstance(value, dict) or not value:
        raise InputError(f"{where}: {key} must be a mapping, not {value!r}")
    return value
