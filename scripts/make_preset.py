"""Turn a finished run into a shipped preset: half-precision weights, and a card made from one results file.

    python scripts/make_preset.py --model runs/joint/model --name ums-cxr-efficientnet-lite0
    python scripts/make_preset.py --name ums-cxr-efficientnet-lite0 --card-only

The first form writes ``zoo/weights/NAME``; both write ``model_cards/NAME.md`` from ``docs/results/NAME.json`` (the keyword arguments of
`umsrep.zoo.card.build_card`). The checksum it prints belongs into ``zoo/presets.py``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import hub
from umsrep.zoo.card import build_card, lint_card

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Parse, convert, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--card-only", action="store_true")
    arguments = parser.parse_args()
    folder = ROOT / "zoo" / "weights" / arguments.name
    if not arguments.card_only:
        MultiTaskModel.from_pretrained(arguments.model).save_pretrained(folder, half=True)
        (folder / hub.CARD_FILE).unlink()  # the card lives in model_cards/
    config = hub.read_config(folder)
    results = ROOT / "docs" / "results" / f"{arguments.name}.json"
    if results.is_file():
        card = build_card(arguments.name, config, **json.loads(results.read_text(encoding="utf-8")))
        assert not lint_card(card), lint_card(card)
        (ROOT / "model_cards" / f"{arguments.name}.md").write_text(card, encoding="utf-8")
    for name, checksum in config["umsrep"]["sha256"].items():
        print(f"{name}: {(folder / name).stat().st_size / 2**20:.1f} MiB, sha256 {checksum}")


if __name__ == "__main__":
    main()
