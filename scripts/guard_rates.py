"""Measure how often the guard of a shipped preset flags pictures (docs/guard.md), for its card.

    python scripts/guard_rates.py ums-us-efficientnet-lite0 --data data [--count 64]

Writes the entry ``guard`` of model_cards/PRESET.json; the card follows with scripts/make_preset.py --name PRESET --card-only. The guard
itself was made by the training run, from training and validation rows; none of them is among what is measured here.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage
import sklearn

from umsrep.errors import InputError
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.guard import load_guard
from umsrep.tasks.guarding import described, open_rows, rate, spread_rows
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import hub
from umsrep.zoo.input_contract import InputContract, LoadedImage
from umsrep.zoo.results import load_results

ROOT = Path(__file__).resolve().parents[1]
SAME, NEAR, OTHER = "like the training data", "same kind, from elsewhere", "other kind of picture"
KINDS = ("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT")
SETS: dict[str, dict[str, str]] = {  # modality: set (test rows; nuclei and modality6 all of them) to what it is to that modality
    "cxr": {"cxr_guangzhou": SAME, "cxr_nih": SAME, "cxr_external": NEAR, "us_nerve": OTHER, "us_lung": OTHER, "nuclei": OTHER},
    "us": {"us_nerve": SAME, "us_lung": NEAR, "cxr_guangzhou": OTHER, "cxr_nih": OTHER, "nuclei": OTHER},
    "doppler": {"doppler_other": SAME, "us_nerve": OTHER, "us_lung": OTHER, "cxr_guangzhou": OTHER, "cxr_nih": OTHER, "nuclei": OTHER},
}


def main() -> None:
    """Measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("--data", type=Path, required=True, help="folder of the unpacked data sets")
    parser.add_argument("--count", type=int, default=64, help="images of each set, at most; of its own kind twice as many")
    options = parser.parse_args()
    source = hub.open_source(options.preset)
    model, guard = MultiTaskModel.from_pretrained(options.preset), load_guard(source)
    if guard is None:
        raise InputError(f"{options.preset} has no guard")
    rates = []
    for name, kind, images in pictures(model, options.data, options.count):
        rates.append(rate(guard, model, name, kind, images))
        print(f"{name}: {rates[-1].flagged} of {rates[-1].images} flagged ({kind})", flush=True)
    path = ROOT / "model_cards" / f"{options.preset}.json"
    results = load_results(path)
    own = ", ".join(data.name for data in results.data)
    stored = dataclasses.replace(results, guard=described(guard, f"{own}, validation", rates))
    path.write_text(json.dumps(stored.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def pictures(model: MultiTaskModel, data: Path, count: int) -> Iterator[tuple[str, str, Iterator[LoadedImage]]]:
    """Yield what is measured: name, kind, images."""
    modality = model.encoder.modality or ""
    for name, kind in SETS[modality].items():
        manifest = load_manifest(data / name)
        rows = list(range(len(manifest))) if name == "nuclei" else manifest.rows("test")
        yield (
            f"{name}, test" if name != "nuclei" else name,
            kind,
            iter(open_rows(model, manifest, spread_rows(manifest, rows, count if kind == OTHER else 2 * count))),
        )
    manifest = load_manifest(data / "modality6")
    for label in KINDS:
        rows = [row for row in manifest.rows("test") if manifest.columns["label"][row] == label]
        kind = NEAR if label == "CXR" and modality == "cxr" else OTHER
        yield f"modality6 {label} (64 px)", kind, iter(open_rows(model, manifest, spread_rows(manifest, rows, count)))
    contract = model.encoder.contract
    places = [Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets" / "images"]
    files = sorted(p for place in places for p in place.glob("*") if p.suffix in (".png", ".jpg"))
    yield "photos and drawings (scikit-image, scikit-learn)", OTHER, opened(contract, files)
    blank = [np.full((256, 256), v, np.uint8) for v in range(0, 256, 255 // 13)][:14]
    yield "blank (black, white, 12 greys)", OTHER, opened(contract, blank)
    draws = np.random.default_rng(0)
    noise = [draws.integers(0, 256, (256, 256)) for _ in range(8)]
    noise += [np.clip(draws.normal(128, sd, (256, 256)), 0, 255) for sd in (2, 5, 10, 20, 30, 40, 50, 60)]
    yield "noise (uniform, Gaussian)", OTHER, opened(contract, [n.astype(np.uint8) for n in noise])


def opened(contract: InputContract, images: list[Path] | list[np.ndarray]) -> Iterator[LoadedImage]:
    """Open pictures that the contract takes, after making them grey 8-bit ones as a scanner's export would be."""
    from PIL import Image

    for image in images:
        grey = np.asarray(Image.open(image).convert("L")) if isinstance(image, Path) else image
        yield contract.open(grey)


if __name__ == "__main__":
    main()
