"""The gallery's pages in Markdown, from what a run of scripts/make_gallery.py stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from umsrep.tasks.showcase.licences import CHANGES, PLACES_OUT, credit

COMMAND = "python scripts/make_gallery.py {name} --data /tmp/data"
_WARNING = "**For research only. Not a medical device; never for diagnosis, treatment or any other clinical use.**"
_RULES = """
## How cases are chosen

Nobody picked a picture. Each rule stands under its sheet; `tasks/showcase/choosing.py` carries it out.

- **Segmentation, denoising**: the images at percentiles of the score (Dice; gain in PSNR) among the test rows measured: 0 is the worst,
  50 the median, 100 the best.
- **Classification**: of each class the right answer of median loss, of two classes also that of least loss; then the wrong answers of
  largest loss, so that what was wrong and sure comes first, one a patient.
- **Noise**: the images of lowest and of median Dice under Gaussian noise of sigma .04, which are also shown denoised first.
- **Elsewhere, without a truth**: percentiles of the guard's score. **Another kind**: of each set the image that the guard finds least
  strange, its hardest; of the model's own kind the strangest.
- Long sets are thinned to every k-th row, so that a model takes under two minutes; beside each number stands how many images are behind it.
  Images that may not be shown are measured all the same; percentiles of shown cases are among those that may.

## How to read them

Outlines: the truth whole, the prediction dashed, in colours of Okabe and Ito, which are told apart with any colour vision; the legend
stands beneath. `says` is the class at the threshold in use, with its probability. `set` is conformal ([evaluation](evaluation.md)), from
validation rows, and promises to hold the truth 90 % of the time for patients like those; under shift the promise fails, and the page says
how far. `guard` is the score and the limit of the [guard](guard.md).

## Whose pictures

Shown are only pictures under {permitted}, those of the NIH (no restrictions), and simulated ones; none under NC, ND or SA terms. Left
out besides: {places}. All were {changes}. Set, file, licence and source of every picture stand at the end of its page.
"""


def page(stored: Mapping[str, Any]) -> str:
    """Return a model's page.

    Args:
        stored: ``name``, ``summary``, ``sha256`` of the weights, ``sections``: each ``title``, ``rule``, ``said``, ``cases``, and
            ``picture`` where it has one.
    """
    name = stored["name"]
    lines = [f"# Gallery of {name}", "", f"{stored['summary'][:1].upper()}{stored['summary'][1:]}. {_WARNING}", ""]
    lines += ["```bash", COMMAND.format(name=name), "```", ""]
    lines += [
        f"Written by this command, nothing by hand; weights `{stored['sha256'][:12]}`. How cases are chosen, what lines and colours mean, "
        "and who may be shown: [the gallery](../gallery.md). Numbers here are of the rows named, often a part of a test set: those to cite "
        "stand on the model's card.",
        "",
    ]
    for section in stored["sections"]:
        lines += [f"## {_cell(section['title'])}", ""]
        if "picture" in section:
            lines += [f"![{_alt(section)}]({section['picture']})", "", f"*{section['rule']}.* {_credits(section['cases'])}", ""]
        lines += [f"- {sentence}" for sentence in section["said"]] + [""]
    return "\n".join([*lines, *_pictures(stored["sections"])])


def index(galleries: Sequence[Mapping[str, Any]]) -> str:
    """Return the page that links the models' pages and says what holds for all."""
    lines = [
        "# Gallery",
        "",
        f"What the shipped models make of real (and, for Doppler, simulated) pictures, failures included. {_WARNING}",
        "",
        "```bash",
    ]
    lines += [COMMAND.format(name=g["name"]) for g in galleries]
    lines += [
        "```",
        "",
        "`/tmp/data` holds the laid-out sets; for Doppler first `python scripts/simulate_doppler.py /tmp/data/doppler`.",
        "",
    ]
    lines += ["| model | pictures | sheets |", "|---|---|---|"]
    for g in galleries:
        shown = sum(len(s["cases"]) for s in g["sections"])
        parts = "; ".join(_cell(s["title"]) for s in g["sections"] if "picture" in s)
        lines.append(f"| [{g['name']}](gallery/{g['name']}.md) | {shown} | {parts} |")
    places = "; ".join(f"{place} ({why})" for place, why in PLACES_OUT.items())
    return "\n".join([*lines, _RULES.format(permitted=", ".join(_LINKS.values()), places=places, changes=CHANGES)])


def _alt(section: Mapping[str, Any]) -> str:
    return _cell(f"{section['title']}: " + "; ".join(f"{c['number']} {c['shown']}" for c in section["cases"]))


def _credits(cases: Sequence[Mapping[str, Any]]) -> str:
    found = dict.fromkeys((c["set"], c["licence"]) for c in cases)
    return "Pictures: " + "; ".join(f"{name} ({licence})" for name, licence in found) + ", changed."


def _pictures(sections: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the list of all pictures with their licences, and the credit of each set."""
    cases = [(s["title"], c) for s in sections for c in s["cases"]]
    cells = [(f"{title} {c['number']}", c["set"], c["file"], c["licence"], c.get("source", ""), c["shown"]) for title, c in cases]
    rows = ["| " + " | ".join(map(_cell, row)) + " |" for row in cells]
    licences = [link for name, link in _LINKS.items() if any(c["licence"] == name for _, c in cases)]
    sets = dict.fromkeys(c["set"] for _, c in cases)
    lines = ["## Pictures and their licences", "", f"All changed: {CHANGES}.", ""]
    lines += [f"- **{name}**: {credit(name).text}. {credit(name).licence or 'Licence of each picture below'}." for name in sets]
    lines += [f"- Licences: {', '.join(licences)}."] * bool(licences)
    lines += ["", "| picture | set | file | licence | source | what stands under it |", "|---|---|---|---|---|---|", *rows, ""]
    return lines


_LINKS = {
    "CC0 1.0": "[CC0 1.0](https://creativecommons.org/publicdomain/zero/1.0/)",
    "CC BY 2.0": "[CC BY 2.0](https://creativecommons.org/licenses/by/2.0/)",
    "CC BY 4.0": "[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/)",
}


def _cell(text: str) -> str:
    """Return a text that cannot break a table or an image's text."""
    return " ".join(text.split()).replace("|", "\\|").replace("[", "(").replace("]", ")")
