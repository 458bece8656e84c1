r"""Make an encoder's reference.safetensors: what its kind of picture looks like to it, for `umsrep inspect`.

The reference is fitted on training rows, its threshold on validation rows; test rows and pictures of other kinds only measure it.

    python scripts/make_reference.py ums-cxr-efficientnet-lite0 --train data/cxr_guangzhou \
        --validation data/cxr_guangzhou data/cxr_nih \
        --same data/cxr_guangzhou data/cxr_nih data/cxr_external \
        --other data/modality6 data/us_nerve data/us_lung data/nuclei photos --json docs/results/modality.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from umsrep.tasks.data.inspect.modality import REFERENCE_FILE, Reference, embed_rows, sample
from umsrep.tasks.data.manifest import Manifest, load_manifest
from umsrep.zoo import Encoder, hub

SOURCE = "statistics of embeddings of cxr_guangzhou training images (Kermany et al. 2018, CC BY 4.0); no image is in it"


def main() -> None:
    """Fit, choose the threshold, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", help="preset or model folder; the file is written into it")
    parser.add_argument("--train", required=True, help="data set whose training rows are the reference")
    parser.add_argument("--validation", nargs="+", required=True, help="data sets whose validation rows give the threshold")
    parser.add_argument("--same", nargs="+", default=[], help="data sets whose test rows are of the same kind")
    parser.add_argument("--other", nargs="+", default=[], help="data sets of other kinds, or folders of PNG and JPEG")
    parser.add_argument(
        "--source", default="embeddings of cxr_guangzhou training images (Kermany et al. 2018, CC BY 4.0); no image is in it"
    )
    parser.add_argument("--rows", type=int, default=256, help="training rows")
    parser.add_argument("--count", type=int, default=64, help="rows of each other set")
    parser.add_argument("--directions", type=int, default=16)
    parser.add_argument("--false-alarms", type=float, default=0.01, help="fraction of validation rows above the threshold")
    parser.add_argument("--json", type=Path, help="where the measurements go")
    arguments = parser.parse_args()

    folder = hub.resolve(arguments.encoder)
    encoder = Encoder.from_pretrained(folder)
    config = hub.read_config(folder)

    def embed(manifest: Manifest, rows: list[int], count: int) -> np.ndarray:
        chosen = sample(manifest, rows, count)
        print(f"{manifest.root}: {len(chosen)} rows", flush=True)
        return embed_rows(encoder, manifest, chosen, None)[1]

    train = load_manifest(arguments.train)
    reference = Reference.fit(
        embed(train, train.rows("train"), arguments.rows),
        directions=arguments.directions,
        source=arguments.source,
        weights=config["umsrep"]["sha256"][hub.ENCODER_FILE],
    )
    held_out = [load_manifest(path) for path in arguments.validation]
    scores = [reference.scores(embed(m, m.rows("validation"), arguments.count)) for m in held_out]
    # each set counts alike, however many rows it has: the largest of their quantiles
    threshold = max(float(np.quantile(s, 1 - arguments.false_alarms)) for s in scores)
    reference = dataclasses.replace(reference, threshold=threshold)
    reference.save(folder / REFERENCE_FILE)
    config_file = folder / hub.CONFIG_FILE  # listed there, it is checked, repaired and published like the weights
    config = json.loads(config_file.read_text(encoding="utf-8"))
    config["umsrep"]["sha256"][REFERENCE_FILE] = hub.sha256(folder / REFERENCE_FILE)
    config_file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    same = {Path(p).name: reference.scores(embed(m := load_manifest(p), m.rows("test"), arguments.count)) for p in arguments.same}
    other = {}
    for path in arguments.other:
        for name, manifest, rows in parts(Path(path)):
            other[name] = reference.scores(embed(manifest, rows, arguments.count))
    table = {
        "encoder": arguments.encoder,
        "weights": reference.weights,
        "reference_rows": arguments.rows,
        "directions": arguments.directions,
        "threshold": threshold,
        "bytes": (folder / REFERENCE_FILE).stat().st_size,
        "same": {name: {"n": len(s), "flagged": float((s > threshold).mean()), "median": float(np.median(s))} for name, s in same.items()},
        "other": {
            name: {
                "n": len(s),
                "flagged": float((s > threshold).mean()),
                "median": float(np.median(s)),
                "auroc": {own: float(roc_auc_score([0] * len(t) + [1] * len(s), [*t, *s])) for own, t in same.items()},
            }
            for name, s in other.items()
        },
    }
    text = json.dumps(table, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


def parts(path: Path) -> list[tuple[str, Manifest, list[int]]]:
    """Split a data set by its labels where it has several; a folder without a table is one part."""
    if path.suffix != ".npz" and not (path / "metadata.csv").is_file():
        names = sorted(p.name for p in path.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
        return [(path.name, Manifest(path, path, {"file_name": names}, list(range(len(names)))), list(range(len(names))))]
    manifest = load_manifest(path)
    labels = manifest.columns.get("label", [""] * len(manifest))
    if path.name != "modality6":  # the one set whose labels are modalities
        labels = [""] * len(manifest)
    return [(f"{path.name} {v}".strip(), manifest, [r for r, label in enumerate(labels) if label == v]) for v in sorted(set(labels))]


if __name__ == "__main__":
    main()
