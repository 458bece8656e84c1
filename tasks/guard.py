"""The out-of-distribution guard: is this picture like those that the model was trained on?

It lies in the model folder's ``reference.safetensors``, beside the reference (`umsrep.tasks.reference`) whose embedding it uses, and
gives one score a picture, larger for stranger ones; above a threshold the picture is flagged.

``knn``: distance to the k-th nearest training picture (Sun, Ming, Zhu, Li, Out-of-distribution detection with deep nearest neighbors,
ICML 2022, Eq. 4), not in the pre-logits but in the reference's coordinates (the leading principal directions of the standardised
statistics of the feature pyramid, and the length of the rest), each over its standard deviation. It needs the encoder alone.
``energy``: the free energy of one classification head's logits, -log sum exp (Liu, Wang, Owens, Li, Energy-based out-of-distribution
detection, NeurIPS 2020, Eq. 4, temperature 1); for classes that do not exclude each other -sum log(1 + exp) (Wang et al., Can
multi-label classification networks know what they don't know?, NeurIPS 2021). docs/guard.md says how the two compare.

The threshold is the ceil((n + 1)(1 - a))-th smallest score of n held-out pictures: a further one that is exchangeable with them is
flagged with a probability of at most a (the rule of split conformal prediction).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import math
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from umsrep.errors import InputError
from umsrep.tasks.reference import Reference
from umsrep.zoo import Encoder, hub
from umsrep.zoo.card import rechecksum
from umsrep.zoo.folder import write_whole

LOG = logging.getLogger("umsrep.guard")
"""A strange image is no fault of the calling code, so that it is logged, not warned of (Python's logging HOWTO)."""
SCORES = ("knn", "energy")
Score = Literal["knn", "energy"]
GuardMode = Literal["off", "warn", "refuse"]
_KEY = "guard"
_MOST_ROWS = 100_000


@dataclasses.dataclass(frozen=True)
class Guard:
    """What flags pictures unlike the training pictures.

    Attributes:
        reference: Of the same pictures; it makes coordinates from embeddings.
        bank: [N, K + 1] coordinates of training pictures.
        neighbours: k of the k-th nearest.
        threshold: Largest score that is not flagged.
        false_alarms: Fraction of pictures like the held-out ones that may be flagged.
        calibrated: Held-out pictures that the threshold comes from.
        fingerprint: Of encoder and contract (`fingerprint`): with others the guard is not used.
        score: "knn" or "energy".
        head: Classification head of the energy; None for knn.
    """

    reference: Reference
    bank: np.ndarray
    neighbours: int
    threshold: float
    false_alarms: float
    calibrated: int
    fingerprint: int
    score: Score = "knn"
    head: str | None = None

    @functools.cached_property
    def spread(self) -> np.ndarray:
        """[K + 1] standard deviations of the bank's coordinates, above 0."""
        return np.asarray(np.maximum(self.bank.std(axis=0), 1e-6))

    def distances(self, embeddings: np.ndarray) -> np.ndarray:
        """Return each embedding's [N, D] distance to its k-th nearest training picture."""
        own = self.reference.coordinates(embeddings) / self.spread
        bank = self.bank / self.spread
        found = np.empty(len(own))
        for start in range(0, len(own), 256):  # differences, not products: these cancel for near pictures
            apart = np.sqrt(((own[start : start + 256, None] - bank[None]) ** 2).sum(axis=2))
            found[start : start + 256] = np.partition(apart, self.neighbours - 1, axis=1)[:, self.neighbours - 1]
        return found

    def scores(self, observed: np.ndarray) -> np.ndarray:
        """Return the score of each picture from what `umsrep.tasks.guarding.observed` found."""
        return self.distances(observed) if self.score == "knn" else observed

    def save(self, path: Path) -> None:
        """Write the file, reference included; the bank in half precision."""
        numbers = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("reference", "bank")}
        tensors = self.reference.tensors() | {"bank": torch.from_numpy(self.bank).half()}
        save_file(tensors, path, metadata={"reference": self.reference.numbers(), _KEY: json.dumps(numbers)})

    @classmethod
    def load(cls, path: Path) -> Guard | None:
        """Read the file; None where it holds a reference and no guard.

        Raises:
            InputError: if it is damaged or of another form.
        """
        reference = Reference.load(path)
        try:
            with safe_open(path, framework="pt") as file:
                text = (file.metadata() or {}).get(_KEY)
                if text is None:
                    return None
                numbers = json.loads(text)
                bank = file.get_tensor("bank").float().numpy()
        except (SafetensorError, OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: damaged guard ({' '.join(str(error).split()) or type(error).__name__})") from error
        fault = _fault(numbers, bank, reference)
        if fault:
            raise InputError(f"{path}: damaged guard ({fault}); make it again with `umsrep guard`")
        return cls(reference=reference, bank=bank, **numbers)


def _fault(numbers: Any, bank: np.ndarray, reference: Reference) -> str:
    """Say what is wrong with the content of a file."""
    types: dict[str, tuple[type, ...]] = {
        "neighbours": (int,),
        "threshold": (int, float),
        "false_alarms": (int, float),
        "calibrated": (int,),
        "fingerprint": (int,),
        "score": (str,),
        "head": (str, type(None)),
    }
    if not isinstance(numbers, dict) or numbers.keys() != types.keys():
        return f"its keys must be {', '.join(types)}"
    for key, allowed in types.items():
        if not isinstance(numbers[key], allowed) or isinstance(numbers[key], bool):
            return f"{key} is {str(numbers[key])[:40]!r}"
    if not math.isfinite(numbers["threshold"]) or not 0 < numbers["false_alarms"] < 1:
        return "threshold or false_alarms out of range"
    if numbers["score"] not in SCORES or (numbers["score"] == "energy") != (numbers["head"] is not None):
        return f"score {numbers['score'][:40]!r}"
    if bank.ndim != 2 or bank.shape[1] != len(reference.directions) + 1 or not np.isfinite(bank).all():
        return f"bank of shape {bank.shape}"
    if not 1 <= numbers["neighbours"] <= len(bank) <= _MOST_ROWS:
        return f"{numbers['neighbours']} neighbours of {len(bank)}"
    return ""


def threshold_of(scores: np.ndarray, false_alarms: float) -> float:
    """Return the ceil((n + 1)(1 - a))-th smallest of n held-out scores.

    Raises:
        InputError: if n is too small for that rank, saying how many it takes, or a is not between 0 and 1.
    """
    if not 0 < false_alarms < 1:
        raise InputError(f"false_alarms must be above 0 and below 1, not {false_alarms}")
    count = len(scores)
    if count < (least := needed(false_alarms)):
        raise InputError(f"a rate of false alarms of {false_alarms:g} needs {least} held-out pictures or more, not {count}")
    rank = math.ceil((count + 1) * (1 - false_alarms) - 1e-9)
    return float(np.sort(scores)[rank - 1])


def needed(false_alarms: float) -> int:
    """Return the fewest held-out pictures for which the rule has an answer."""
    return math.ceil((1 - false_alarms) / false_alarms - 1e-9)


def energy(logits_BK: Tensor, *, multi_label: bool) -> np.ndarray:
    """Return the free energy of logits: low where the head is sure of something."""
    logits = logits_BK.detach().float().cpu()
    found = torch.nn.functional.softplus(logits).sum(dim=1) if multi_label else torch.logsumexp(logits, dim=1)
    return np.asarray(-found.numpy(), dtype=np.float64)


def fingerprint(encoder: Encoder) -> int:
    """Return a number that changes when the encoder is trained or its contract is changed, in some milliseconds.

    It looks at two numbers of every weight and statistic: training moves them all, copying and another device move none.
    """
    taken = [
        value
        for tensor in encoder.model.state_dict().values()
        if tensor.is_floating_point() and tensor.numel()
        for value in (tensor[tuple(n // 2 for n in tensor.shape)], tensor[tuple(n - 1 for n in tensor.shape)])
    ]
    numbers = torch.stack([value.detach().float() for value in taken]).cpu().numpy()
    rules = json.dumps(encoder.contract.to_dict(), sort_keys=True)
    return zlib.crc32(numbers.astype("<f4").tobytes(), zlib.crc32(rules.encode()))


# ---- model folders -------------------------------------------------------------------------------------------------
def load_guard(source: hub.Source) -> Guard | None:
    """Read the guard of a model folder; None where config.json lists no reference, or it holds no guard.

    A copy of a folder without the file still opens, with a line in the log: no number of the model depends on it.

    Raises:
        InputError: if the file is damaged or of other weights.
    """
    sums, path = source.config["umsrep"]["sha256"], source.folder / hub.REFERENCE_FILE
    if hub.REFERENCE_FILE not in sums:
        return None
    if source.download is None and not path.exists():
        LOG.warning("%s is not there: images are not checked for being unlike the training images", path)
        return None
    source.check(hub.REFERENCE_FILE)
    guard = Guard.load(path)
    if guard is not None and guard.reference.weights != sums.get(hub.ENCODER_FILE):
        raise InputError(f"{path}: its guard was made for other weights than {hub.ENCODER_FILE}; make it again with `umsrep guard`")
    return guard


def attach(folder: Path, guard: Guard) -> Guard:
    """Put a guard into a model folder: the file, its sha256 in config.json, and the card's list of checksums.

    Returns:
        The guard as it was written, for this folder's weights.
    """
    config = json.loads((folder / hub.CONFIG_FILE).read_text(encoding="utf-8"))
    sums = config["umsrep"]["sha256"]
    bound = dataclasses.replace(guard, reference=dataclasses.replace(guard.reference, weights=sums[hub.ENCODER_FILE]))
    try:
        write_whole(folder / hub.REFERENCE_FILE, bound.save)
        sums[hub.REFERENCE_FILE] = hub.sha256(folder / hub.REFERENCE_FILE)
        text = json.dumps(config, indent=2, allow_nan=False) + "\n"
        write_whole(folder / hub.CONFIG_FILE, lambda path: path.write_text(text, encoding="utf-8"))
        card = folder / hub.CARD_FILE
        if card.is_file():
            new = rechecksum(card.read_text(encoding="utf-8"), sums)
            write_whole(card, lambda path: path.write_text(new, encoding="utf-8"))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder}: cannot write the guard ({getattr(error, 'strerror', None) or error})") from error
    return bound
