"""A model folder of an AdaBN-adapted model, whose card says so."""

from __future__ import annotations

from pathlib import Path

import torch

from umsrep.errors import InputError
from umsrep.tasks.adapt.norms import batch_norms
from umsrep.tasks.adapt.target import TargetImages, adapted_copy
from umsrep.tasks.description import cost_of_model, features_of
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import hub
from umsrep.zoo.card import build_card, metadata_of, read_card
from umsrep.zoo.presets import PRESETS
from umsrep.zoo.results import Results


def save_adapted(model: MultiTaskModel, images: TargetImages, folder: str | Path, *, origin: str) -> int:
    """Adapt a copy of a model by AdaBN and write its folder.

    The card says from which model it comes and on which images its norms were set. The licence is that of the model; its measured
    numbers are left out, as they are another model's, and so is its out-of-distribution guard.

    Args:
        model: To adapt; it stays as it is.
        images: The target.
        folder: Made if absent.
        origin: Where the model was loaded from, as a user names it: preset, org/repo or folder.

    Returns:
        How many batch norms changed.

    Raises:
        InputError: as `adapted_copy`.
    """
    adapted = adapted_copy(model, images, title="adapting")
    before, after = batch_norms(model), batch_norms(adapted)
    running = [(before[name].running_mean, norm.running_mean) for name, norm in after.items()]
    changed = sum(old is not None and new is not None and not torch.equal(old, new) for old, new in running)
    written = adapted.save_pretrained(folder)
    name = Path(origin).name if Path(origin).is_dir() else origin  # no folder of the user's on a card
    results = Results(
        license=_license(origin),
        training=(
            f"AdaBN (Li et al. 2016): `{name}` with the running statistics of {changed} batch norms replaced by those of {images.what}. "
            f"All weights are those of `{name}`, and no label of the target was read."
        ),
        features=features_of(adapted.encoder),
        cost=cost_of_model(adapted),
        limits=(
            "Nothing was measured after the adaptation, which can make a model worse: compare both on labelled rows of the target.",
            f"Decision thresholds are those of `{name}`, chosen on its own validation data.",
            "Images unlike those that it was adapted to (the former data among them) are outside of what its norms expect.",
        ),
        reproduce=(f"umsrep adapt {name} TARGET --out {Path(folder).name}",),
    )
    card = build_card(Path(folder).resolve().name, hub.read_config(written), results)
    (written / hub.CARD_FILE).write_text(card, encoding="utf-8")
    return changed


def _license(origin: str) -> str:
    """Return the licence on the model's card; unknown where there is no card to read."""
    try:
        path = hub.resolve(origin)
        text = read_card(origin if origin in PRESETS else str(path))
        return str(metadata_of(text)["license"])
    except (InputError, KeyError):
        return "unknown"
