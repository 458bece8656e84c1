"""Write the gallery of one shipped model: pictures, numbers and pages (docs/gallery.md).

    python scripts/make_gallery.py ums-cxr-efficientnet-lite0 --data /tmp/data

``--data`` holds the laid-out sets (cxr_guangzhou, us_nerve ...; for Doppler `doppler` of scripts/simulate_doppler.py). Writes
docs/gallery/NAME.json, NAME-*.jpg and NAME.md, and docs/gallery.md anew from all docs/gallery/*.json. Pictures of one model take at most
250 kB. Which rows may be shown says tasks/showcase/licences.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.data.dataset import Target
from umsrep.tasks.data.manifest import Manifest, load_manifest
from umsrep.tasks.evaluate import tasks_of
from umsrep.tasks.guarding import spread_rows
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.progress import say
from umsrep.tasks.showcase import shifts
from umsrep.tasks.showcase.drawing import encode, sheet
from umsrep.tasks.showcase.measuring import Measured, cleaned_style, measure, noisy_style
from umsrep.tasks.showcase.page import index, page
from umsrep.tasks.showcase.sections import Section, classification, denoising, segmentation
from umsrep.tasks.task import Task
from umsrep.zoo import hub
from umsrep.zoo.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]
MOST, CALIBRATION, DENOISED, TUNED_ON, SHIFTED, STRANGE = 300, 300, 40, 4, 100, 24
EACH, TOGETHER = 150_000, 250_000
SIGMA = 0.04
CHILDREN = Target("label_binary")
ADULTS = Target("label", {"no_finding": "normal"})
TRAPS = {  # what the sets' PROVENANCE.md says of their truth
    "cxr_external": "Two annotators with different habits drew these masks; one of them leaves out lung behind the heart.",
    "cxr_nih": "These labels were mined from reports: some 10 % are expected to be wrong, so that a confident error may be the label's.",
    "us_lung": "Site and label are entangled: one test site has normal lungs only, the other mostly ill ones.",
    "us_nerve": "Not all vessels are drawn in the truth, and a volunteer may be in training and test: there are no subject numbers.",
}


@dataclasses.dataclass(frozen=True)
class Where:
    """Rows that a head is shown on: a set, its target, a name for the reader, whether there is a truth, and whether pictures are shown."""

    set: str
    target: Target | None = None
    text: str = ""
    truth: bool = True
    pictures: bool = True


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a modality's models are shown on: heads at home, heads elsewhere, sets of another kind (the first is the own kind)."""

    own: Mapping[str, Where]
    elsewhere: Sequence[tuple[str, Where]]
    kinds: Sequence[str]
    noise: str = "gaussian"
    level: float = 25.0


LUNG = Target("label_binary")
VIEW = Where("cxr_nih", Target("view"), pictures=False)  # numbers tell it all, and pages are small
RECIPES = {
    "cxr": Recipe(
        {
            "denoising": Where("cxr_guangzhou"),
            "lungs": Where("cxr_guangzhou"),
            "pneumonia": Where("cxr_guangzhou", CHILDREN),
            "adult_pneumonia": Where("cxr_nih", ADULTS),
            "view": VIEW,
        },
        [
            ("lungs", Where("cxr_external", text="adults of 13 places")),
            ("lungs", Where("cxr_nih", text="adults of another hospital", truth=False)),
            ("pneumonia", Where("cxr_nih", ADULTS, "adults of another hospital")),
            ("adult_pneumonia", Where("cxr_guangzhou", CHILDREN, "children of another hospital")),
        ],
        ("cxr_guangzhou", "us_nerve", "us_lung", "nuclei"),
    ),
    "us": Recipe(
        {
            "denoising": Where("us_nerve"),
            "nerve": Where("us_nerve"),
            "lung": Where("us_lung", LUNG, "all test sites are other than training's"),
        },
        [("nerve", Where("us_lung", text="lungs: no nerve in sight", truth=False))],
        ("us_nerve", "cxr_guangzhou", "cxr_nih", "nuclei"),
    ),
    "doppler": Recipe(
        {"denoising": Where("doppler"), "envelope": Where("doppler"), "flow": Where("doppler", Target("label"))},
        [],
        ("doppler", "us_nerve", "cxr_guangzhou", "nuclei"),
        noise="speckle",
        level=50.0,
    ),
}


class Maker:
    """Measures one model."""

    def __init__(self, model: MultiTaskModel, data: Path) -> None:
        modality = model.encoder.modality
        if modality not in RECIPES:
            raise InputError(f"no gallery is known for modality {modality}; RECIPES in {Path(__file__).name} has {', '.join(RECIPES)}")
        self.model, self.data, self.recipe = model, data, RECIPES[modality]
        self.tasks: dict[str, Task] = tasks_of(model, noise=self.recipe.noise, level=self.recipe.level)
        if missing := [name for name in self.tasks if name not in self.recipe.own]:
            raise InputError(f"no data is known for the head '{missing[0]}'; add it to RECIPES in {Path(__file__).name}")
        self.manifests: dict[str, Manifest] = {}

    def manifest(self, name: str) -> Manifest:
        """Open a set once."""
        if name not in self.manifests:
            self.manifests[name] = load_manifest(self.data / name)
        return self.manifests[name]

    def measure(self, name: str, where: Where, split: str, most: int, **more: Any) -> Measured:
        """Run a head on at most so many annotated rows of a split, evenly spread."""
        manifest, task = self.manifest(where.set), self.tasks[name]
        rows = manifest.rows(split)
        if task.kind == "segmentation":
            rows = [row for row in rows if manifest.column("mask_file_name")[row]]
        kept = rows[:: max(1, -(-len(rows) // most))]
        return measure(self.model, name, task, where.set, manifest, kept, target=where.target, **more)

    def sections(self) -> list[Section]:
        """Make every section."""
        found, calibrations = [], {}
        for name, task in self.tasks.items():
            where = self.recipe.own[name]
            say(f"{name} on {where.set}")
            title = f"{name}: {where.set}, test" + (f" ({where.text})" if where.text else "")
            if task.kind == "denoising":
                tuning = self.measure(name, where, "validation", TUNED_ON, seed=1)
                one = denoising(self.model, name, self.measure(name, where, "test", DENOISED), tuning, tuned_on=len(tuning.rows))
                one.title = title
                found.append(one)
            elif task.kind == "segmentation":
                found.append(told(segmentation(self.model, name, self.measure(name, where, "test", MOST), title), where))
            else:
                calibrations[name] = self.measure(name, where, "validation", CALIBRATION)
                measured = self.measure(name, where, "test", MOST)
                one = classification(self.model, name, measured, calibrations[name], title)
                if not where.pictures:
                    one.rule, one.cases, one.panels = "", [], []
                found.append(told(one, where))
        for name, task in self.tasks.items():
            if task.kind != "denoising":
                say(f"{name} under noise")
                self.noise(name, found)
        for name, where in self.recipe.elsewhere:
            if name not in self.tasks:
                continue
            say(f"{name} on {where.set}")
            title = f"{name}: {where.set} ({where.text})"
            if not where.truth:
                manifest = self.manifest(where.set)
                rows = spread_rows(manifest, manifest.rows("test"), SHIFTED)
                found.append(shifts.unlabelled(self.model, name, where.set, manifest, rows, title))
            elif self.tasks[name].kind == "segmentation":
                found.append(told(segmentation(self.model, name, self.measure(name, where, "test", MOST), title), where))
            else:
                measured = self.measure(name, where, "test", MOST)
                found.append(told(classification(self.model, name, measured, calibrations[name], title, only_errors=True), where))
        say("pictures of another kind")
        sets = {name: (self.manifest(name), self.rows_of_kind(name)) for name in self.recipe.kinds}
        found.append(shifts.other_kinds(self.model, self.recipe.kinds[0], sets, STRANGE))
        return found

    def rows_of_kind(self, name: str) -> list[int]:
        """Test rows of the own kind, all rows of another."""
        manifest = self.manifest(name)
        return manifest.rows("test") if name == self.recipe.kinds[0] else list(range(len(manifest)))

    def noise(self, name: str, found: list[Section]) -> None:
        """Measure a head with noise; a classifier's answers are counted in its own section."""
        where, dirty = self.recipe.own[name], noisy_style(SIGMA)
        clean, noisy = (self.measure(name, where, "test", SHIFTED, style=style) for style in (None, dirty))
        if self.tasks[name].kind == "segmentation":
            washed = cleaned_style(self.model, dirty)
            cleaned = None if washed is None else self.measure(name, where, "test", SHIFTED, style=washed)
            found.append(shifts.noise(self.model, name, clean, noisy, cleaned, SIGMA))
            return
        said = [m.values["probabilities"].argmax(1) for m in (clean, noisy)]
        wrong = [int((s != m.values["target"]).sum()) for s, m in zip(said, (clean, noisy), strict=True)]
        section = next(s for s in found if s.title.startswith(f"{name}: "))
        section.said.append(
            f"Under Gaussian noise of sigma {SIGMA:g} the most probable class changes in {int((said[0] != said[1]).sum())} of "
            f"{len(clean.rows)} images; {wrong[0]} are wrong without noise, {wrong[1]} with it."
        )


def told(section: Section, where: Where) -> Section:
    """Add what is known to be wrong with a set's truth."""
    section.said += [TRAPS[where.set]] if where.set in TRAPS and where != VIEW else []  # views are not read off reports
    return section


def main() -> None:
    """Measure, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a preset or a model folder")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    arguments = parser.parse_args()
    name = Path(arguments.name).name
    model = MultiTaskModel.from_pretrained(arguments.name)
    sections = Maker(model, arguments.data).sections()
    pictures: dict[str, np.ndarray] = {}
    stored: list[dict[str, Any]] = []
    for number, s in enumerate(sections, 1):
        entry: dict[str, Any] = {"title": s.title, "rule": s.rule, "said": s.said, "cases": s.cases}
        if s.panels:
            entry["picture"] = f"{name}-{number}-{re.sub(r'[^A-Za-z0-9]+', '-', s.title.partition(':')[0]).strip('-').lower()}.jpg"
            pictures[entry["picture"]] = sheet(s.panels, s.columns, titles=s.titles, lines=s.lines)
        stored.append(entry)
    files, quality = encode(pictures, each=EACH, together=TOGETHER)
    folder = arguments.out / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{name}-[0-9]*.jpg"):
        old.unlink()
    for file, data in files.items():
        (folder / file).write_bytes(data)
    config = hub.read_config(hub.resolve(arguments.name))
    summary = PRESETS[name].summary if name in PRESETS else "A model folder"
    gallery = {"name": name, "summary": summary, "sha256": config["umsrep"]["sha256"][hub.ENCODER_FILE], "quality": quality}
    write_json(folder / f"{name}.json", gallery | {"sections": stored})
    galleries = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    for one in galleries:
        (folder / f"{one['name']}.md").write_text(page(one), encoding="utf-8")
    (arguments.out / "gallery.md").write_text(index(galleries), encoding="utf-8")
    print(f"{len(files)} sheets, {sum(map(len, files.values())):,} bytes at JPEG quality {quality}")


def write_json(path: Path, value: Any) -> None:
    """Write JSON that differs only where its content does."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
