"""Turn a finished run into a shipped preset: half-precision weights, and a card made from one results file.

    python scripts/make_preset.py --model runs/joint/model --name ums-cxr-efficientnet-lite0
    python scripts/make_preset.py --name ums-cxr-efficientnet-lite0 --study docs/results/cxr_line9.json
    python scripts/make_preset.py --name ums-cxr-efficientnet-lite0 --card-only

The first form writes ``zoo/weights/NAME``. The second also brings ``model_cards/NAME.json`` (docs/cards.md) up to date: its measurements
from a report of benchmarks/study_cxr.py, its pyramid and cost from the model. All write ``model_cards/NAME.md`` from that file.
The checksum that is printed belongs into ``zoo/presets.py``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks.description import cost_of_model, features_of
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import hub
from umsrep.zoo.card import build_card
from umsrep.zoo.card_lint import lint_card
from umsrep.zoo.results import METRICS, Group, Measurement, load_results

ROOT = Path(__file__).resolve().parents[1]
# Measurement of benchmarks/study_cxr.py -> group, head, metric, data, split. The first of a head is the one that `umsrep list` shows.
STUDY: dict[str, tuple[Group, str, str, str, str | None]] = {
    "dice_guangzhou": ("results", "lungs", "dice", "cxr_guangzhou", "test"),
    "auroc": ("results", "pneumonia", "auroc", "cxr_guangzhou", "published test"),
    "psnr_gain": ("results", "denoising", "psnr_gain", "cxr_guangzhou", "every 12th of test"),
    "ssim": ("results", "denoising", "ssim", "cxr_guangzhou", "every 12th of test"),
    "dice_external": ("shift", "lungs", "dice", "cxr_external", "13 places, adults"),
    "dice_external/v7": ("shift", "lungs", "dice", "cxr_external", "masks of V7 Labs"),
    "dice_external/generalblockchain": ("shift", "lungs", "dice", "cxr_external", "masks of GeneralBlockchain"),
}


CONTROLS = {  # runs of the study that stand beside the preset in its section on interference
    **dict.fromkeys(("single-lungs", "single-pneumonia", "single-denoising"), "single-task, a third of the training"),
    "joint-unshared": "joint, a decoder for each dense head",
}


def measurements_of(study: Mapping[str, Any]) -> tuple[Measurement, ...]:
    """Return the rows of a card from a report of benchmarks/study_cxr.py, every number of it at full precision."""
    rows = []
    for key in study["results"]:
        if key not in STUDY:
            raise InputError(f"the study measured '{key}', of which STUDY in {Path(__file__).name} does not say where it stands")
    for key, (group, head, metric, data, split) in STUDY.items():
        for method, entry in study["results"].get(key, {}).items():
            other = study.get("joint_minus_other", {}).get(key, {}).get(method, {})
            common = {"head": head, "data": data, "split": split, "images": entry["rows"], "patients": entry["patients"]}
            name = None if method == "joint" else CONTROLS.get(method, method)
            rows.append(
                Measurement(
                    group="interference" if method in CONTROLS else group,
                    metric=metric,
                    value=entry["value"],
                    interval=tuple(entry["interval"]),
                    method=name,
                    difference=other.get("value"),
                    difference_interval=tuple(other["interval"]) if other else None,
                    **common,
                )
            )
            further = {
                k: v for k, v in {**entry, **entry.get("metrics", {})}.items() if k in METRICS and k not in (metric, "hd95_undefined")
            }
            if name is None:  # a control is compared by the measures of the study; the rest is this model's
                rows += [Measurement(group=group, metric=k, value=v, **common) for k, v in further.items()]
    return tuple(rows)


def main() -> None:
    """Parse, convert, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--model", type=Path, help="the model folder of a run")
    parser.add_argument("--study", type=Path, help="a report of benchmarks/study_cxr.py")
    parser.add_argument("--card-only", action="store_true", help="only write the card again")
    arguments = parser.parse_args()
    folder = ROOT / "zoo" / "weights" / arguments.name
    if arguments.model is not None:
        MultiTaskModel.from_pretrained(arguments.model).save_pretrained(folder, half=True)
        (folder / hub.CARD_FILE).unlink()  # the card lives in model_cards/
    path = ROOT / "model_cards" / f"{arguments.name}.json"
    results = load_results(path)
    if not arguments.card_only:
        model = MultiTaskModel.from_pretrained(folder)
        cost = cost_of_model(model)
        if results.cost is not None:
            cost = dataclasses.replace(cost, timings=results.cost.timings)
        results = dataclasses.replace(results, features=features_of(model.encoder, decoders=True), cost=cost)
    if arguments.study is not None:
        results = dataclasses.replace(results, measurements=measurements_of(json.loads(arguments.study.read_text(encoding="utf-8"))))
    config = hub.read_config(folder)
    card = build_card(arguments.name, config, results)
    if problems := lint_card(card, config=config, results=results, location=arguments.name):
        raise InputError("; ".join(map(str, problems)))
    path.write_text(json.dumps(results.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    (ROOT / "model_cards" / f"{arguments.name}.md").write_text(card, encoding="utf-8")
    for name, checksum in config["umsrep"]["sha256"].items():
        print(f"{name}: {(folder / name).stat().st_size / 2**20:.1f} MiB, sha256 {checksum}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
