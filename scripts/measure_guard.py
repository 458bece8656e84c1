r"""Compare scores for an out-of-distribution guard on a chest X-ray preset (docs/guard.md).

    python scripts/measure_guard.py ums-cxr-efficientnet-lite0 --data /tmp/data

Training rows of cxr_guangzhou are the bank, validation rows give every threshold; what is measured chose nothing. Writes
docs/results/guard.json (whose numbers are those of the preset of 2026-11-28, commit 58a5e53). A preset's own rates: guard_rates.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import skimage
import sklearn
import torch
from sklearn.metrics import roc_auc_score

from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.guard import Guard, energy, needed, threshold_of
from umsrep.tasks.guarding import FALSE_ALARMS, make_guard, open_rows, spread_rows
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.predict import evaluation_mode
from umsrep.tasks.reference import load_reference, pyramid_statistics
from umsrep.zoo import hub
from umsrep.zoo.input_contract import InputContract, LoadedImage

ROOT = Path(__file__).resolve().parents[1]
SAME, NEAR, OTHER, CHANGED = "like the training data", "same kind, from elsewhere", "other kind of picture", "test rows, changed"
SOURCE = "cxr_guangzhou training images (Kermany et al. 2018, CC BY 4.0): statistics and coordinates of embeddings; no image is in it"
Seen = dict[str, np.ndarray]


def main() -> None:
    """Make, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("--data", type=Path, required=True, help="folder of the unpacked data sets")
    parser.add_argument("--count", type=int, default=64, help="images of each set of another kind")
    arguments = parser.parse_args()
    folder = hub.resolve(arguments.preset)
    model = MultiTaskModel.from_pretrained(folder)

    own = load_manifest(arguments.data / "cxr_guangzhou")
    train = spread_rows(own, own.rows("train"), 256)
    held_out = spread_rows(own, own.rows("validation"), 256, least=needed(FALSE_ALARMS))
    reference = dataclasses.replace(load_reference(folder), source=SOURCE)
    guard = make_guard(model, open_rows(model, own, train), open_rows(model, own, held_out), source=SOURCE, reference=reference)
    seen = {"train": look(model, open_rows(model, own, train)), "held out": look(model, open_rows(model, own, held_out))}
    kinds: dict[str, str] = {}
    for name, kind, images in sets(model, arguments.data, arguments.count):
        kinds[name], seen[name] = kind, look(model, images)
        print(f"{name}: {len(seen[name]['energy'])}", flush=True)

    table = compare(guard, seen, kinds)
    lines = [
        f" {json.dumps(k)}: {{\n" + ",\n".join(f"  {json.dumps(n)}: {json.dumps(v)}" for n, v in s.items()) + "\n }"
        for k, s in table.items()
    ]
    (ROOT / "docs" / "results" / "guard.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def sets(model: MultiTaskModel, data: Path, count: int) -> Iterator[tuple[str, str, Iterator[LoadedImage]]]:
    """Yield the sets that are measured: name, kind, images."""

    def some(folder: str, most: int, label: str | None = None, split: str | None = "test") -> Iterator[LoadedImage]:
        manifest = load_manifest(data / folder)
        rows = manifest.rows(split) if split else list(range(len(manifest)))
        rows = [r for r in rows if label is None or manifest.columns["label"][r] == label]
        yield from open_rows(model, manifest, spread_rows(manifest, rows, most))

    yield "cxr_guangzhou, test", SAME, some("cxr_guangzhou", 200)
    yield "cxr_nih, test (adults)", NEAR, some("cxr_nih", 200)
    yield "cxr_external (adults, 13 places)", NEAR, some("cxr_external", 200)
    yield "modality6 CXR (64 px)", NEAR, some("modality6", count, "CXR")
    for label in ("AbdomenCT", "BreastMRI", "ChestCT", "Hand", "HeadCT"):
        yield f"modality6 {label}", OTHER, some("modality6", count, label)
    for folder in ("us_lung", "us_nerve", "nuclei"):
        yield folder, OTHER, some(folder, count, split=None)
    contract = model.encoder.contract
    places = [Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets" / "images"]
    files = sorted(p for place in places for p in place.glob("*") if p.suffix in (".png", ".jpg"))
    yield "photos and drawings (scikit-image, scikit-learn)", OTHER, opened(contract, files)
    yield (
        "blank (black, white, 12 greys)",
        OTHER,
        opened(contract, [np.full((256, 256), v, np.uint8) for v in range(0, 256, 255 // 13)][:14]),
    )
    draws = np.random.default_rng(0)
    noise = [draws.integers(0, 256, (256, 256)) for _ in range(8)]
    noise += [np.clip(draws.normal(128, sd, (256, 256)), 0, 255) for sd in (2, 5, 10, 20, 30, 40, 50, 60)]
    yield "noise (uniform, Gaussian)", OTHER, opened(contract, [n.astype(np.uint8) for n in noise])
    changes: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "inverted": lambda unit: 1 - unit,
        "turned by 90 degrees": lambda unit: unit.rot90(1, (1, 2)),
        "turned by 180 degrees": lambda unit: unit.rot90(2, (1, 2)),
    }
    for name, change in changes.items():
        images = (dataclasses.replace(i, unit_CHW=change(i.unit_CHW)) for i in some("cxr_guangzhou", 100))
        yield f"cxr_guangzhou, test, {name}", CHANGED, images


def opened(contract: InputContract, images: list[Path] | list[np.ndarray]) -> Iterator[LoadedImage]:
    """Open pictures that the contract takes, after making them grey 8-bit ones as a scanner's export would be."""
    from PIL import Image

    for image in images:
        grey = np.asarray(Image.open(image).convert("L")) if isinstance(image, Path) else image
        yield contract.open(grey)


@torch.inference_mode()
def look(model: MultiTaskModel, images: Iterable[LoadedImage]) -> Seen:
    """Return what every score is made from."""
    contract = model.encoder.contract
    found: dict[str, list[np.ndarray]] = {"pyramid": [], "pre-logits": [], "energy": []}
    x = torch.stack([contract.normalise(contract.fit(image.unit_CHW)) for image in images])
    with evaluation_mode(model):
        for batch in torch.split(x, 32):
            outputs, maps, embedding = model.run(batch, ["pneumonia"], seen=True)
            assert embedding is not None
            found["pyramid"].append(pyramid_statistics(maps).numpy())
            found["pre-logits"].append(embedding.numpy())
            found["energy"].append(energy(outputs["pneumonia"], multi_label=False))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def compare(guard: Guard, seen: dict[str, Seen], kinds: dict[str, str]) -> dict[str, dict[str, object]]:
    """Return for each score how many of each set are flagged at the same rate of false alarms, and the AUROC against the own test rows."""

    def unit(x: np.ndarray) -> np.ndarray:
        return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))

    def nearest(bank: np.ndarray, x: np.ndarray, k: int) -> np.ndarray:
        return np.asarray(np.sort(np.linalg.norm(x[:, None] - bank[None], axis=2), axis=1)[:, k - 1])

    bank = unit(seen["train"]["pre-logits"].astype(np.float64))
    own = guard.reference.coordinates(seen["train"]["pyramid"])
    inverse = np.linalg.inv(np.cov(own.T))

    def mahalanobis(x: np.ndarray) -> np.ndarray:
        centred = guard.reference.coordinates(x) - own.mean(axis=0)
        return np.asarray(np.einsum("ij,jk,ik->i", centred, inverse, centred))

    scores: dict[str, Callable[[Seen], np.ndarray]] = {
        "energy": lambda s: s["energy"],
        "kNN, pre-logits (k = 5)": lambda s: nearest(bank, unit(s["pre-logits"].astype(np.float64)), 5),
        "kNN, pyramid (k = 5): the guard": lambda s: guard.distances(s["pyramid"]),
        "kNN, pyramid (k = 1)": lambda s: dataclasses.replace(guard, neighbours=1).distances(s["pyramid"]),
        "Mahalanobis, pyramid": lambda s: mahalanobis(s["pyramid"]),
        "PCA residual, pyramid (inspect)": lambda s: guard.reference.scores(s["pyramid"]),
    }
    table: dict[str, dict[str, object]] = {}
    for name, score in scores.items():
        limit = threshold_of(score(seen["held out"]), FALSE_ALARMS)
        inside = score(seen["cxr_guangzhou, test"])
        rows = {n: score(seen[n]) for n in kinds}
        table[name] = {
            n: [int((v > limit).sum()), len(v), round(float(roc_auc_score([0] * len(inside) + [1] * len(v), [*inside, *v])), 3)]
            for n, v in rows.items()
        }
    half = {n: threshold_of(scores[n](seen["held out"]), FALSE_ALARMS / 2) for n in ("energy", "kNN, pyramid (k = 5): the guard")}
    either = {n: np.any([scores[s](seen[n]) > limit for s, limit in half.items()], axis=0) for n in kinds}
    table["energy or the guard, each at half the rate"] = {n: [int(v.sum()), len(v), None] for n, v in either.items()}
    return table


if __name__ == "__main__":
    main()
