"""The commands about encoders and model folders: what they print and write, and how they refuse."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.cli.console import Capture, printed, refused
from umsrep.tasks.cli import main
from umsrep.tasks.trainer import Report
from umsrep.zoo import PRESETS, hub
from umsrep.zoo.card import metadata_of, read_card, relocate

NAME = "ums-cxr-efficientnet-lite0"


@pytest.fixture
def folder(trained: Report, tmp_path: Path) -> Path:
    """A copy of a trained model folder, to be changed."""
    return Path(shutil.copytree(trained.model, tmp_path / "model"))


def damage(path: Path) -> None:
    """Flip one bit in the middle, same length."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# ---- list ----------------------------------------------------------------------------------------------------------
def test_list(capsys: Capture) -> None:
    entries = json.loads(printed(capsys, "list", "--json"))
    assert [entry["name"] for entry in entries] == sorted(PRESETS)
    assert entries[0].keys() >= {"modality", "arch", "license", "parameters", "macs", "measured", "summary", "sha256", "heads"}
    text = printed(capsys, "list")
    assert all(word in text for word in (NAME, "cxr", "cc-by-4.0", "4.27 M", "1x128x128", "Dice 0.9"))
    assert "no encoder matches 'zzz*'" in printed(capsys, "list", "zzz*")
    assert json.loads(printed(capsys, "list", "zzz*", "--json")) == []
    chosen = [entry for entry in entries if entry["name"].endswith("lite0") and entry["modality"] == "cxr"]
    assert json.loads(printed(capsys, "list", "*lite0", "--modality", "cxr", "--json")) == chosen != entries
    assert "no encoder for modality 'mri'" in refused(capsys, "list", "--modality", "mri")


def test_list_of_a_folder(trained: Report, capsys: Capture) -> None:
    (entry,) = json.loads(printed(capsys, "list", "--from", trained.output.parent, "--json"))
    assert entry["name"] == str(trained.model)
    assert entry["heads"] == {"denoising": "denoising", "disc": "segmentation", "size": "classification"}
    disc = next(row for row in entry["measured"] if row["head"] == "disc")
    assert (disc["metric"], disc["split"]) == ("dice", "test")
    assert disc["value"] == trained.test["disc"]["dice"]
    assert "no folder" in refused(capsys, "list", "--from", "./absent")
    assert "HF_HUB_OFFLINE" in refused(capsys, "list", "--from", "some-organisation")


# ---- card ----------------------------------------------------------------------------------------------------------
def test_card(trained: Report, capsys: Capture) -> None:
    assert printed(capsys, "card", trained.model) == (trained.model / "README.md").read_text()
    assert printed(capsys, "card", NAME) == read_card(NAME)
    found = json.loads(printed(capsys, "card", NAME, "--json"))
    assert found["metadata"] == metadata_of(read_card(NAME))
    assert found["results"][0]["head"] == "lungs"
    assert "no-such-preset" in refused(capsys, "card", "no-such-preset")
    assert "give a name, or --lint PATH" in refused(capsys, "card")
    assert "has no revision 'v1'" in refused(capsys, "card", NAME, "--revision", "v1")
    assert "--results needs --lint PATH" in refused(capsys, "card", NAME, "--results", "x.json")
    assert "--out needs --build F" in refused(capsys, "card", NAME, "--out", "x.md")
    assert "not in the cache" in refused(capsys, "card", "org/absent")


def test_card_is_drawn_in_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    text = printed(capsys, "card", NAME)
    assert "| --- |" not in text
    assert "license: cc-by-4.0" not in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(map(len, plain.splitlines())) <= 80
    assert "…" not in plain, "no cell may be cut"


def test_card_of_a_run_is_built_again_byte_for_byte(trained: Report, tmp_path: Path, capsys: Capture) -> None:
    results = trained.output / "results.json"
    assert printed(capsys, "card", trained.model, "--build", results) == (trained.model / "README.md").read_text()
    assert printed(capsys, "card", trained.model, "--build", results, "--out", tmp_path / "card.md") == ""
    assert (tmp_path / "card.md").read_bytes() == (trained.model / "README.md").read_bytes()
    assert "well formed" in printed(capsys, "card", "--lint", trained.model, "--results", results)


def test_lint_names_every_problem_with_its_line(folder: Path, trained: Report, tmp_path: Path, capsys: Capture) -> None:
    card = folder / "README.md"
    number = next(n for n, line in enumerate(card.read_text().splitlines(), 1) if line.startswith("license:"))
    card.write_text(card.read_text().replace("license: unknown", "license: mitt").replace("## Cost\n", "## Price\n"))
    assert main(["card", "--lint", str(folder)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{folder}:{number}: metadata: license 'mitt'")
    assert lines[1].endswith("no section '## Cost'")
    (tmp_path / "README.md").write_text("no card\n")
    assert main(["card", "--lint", str(tmp_path / "README.md")]) == 2
    assert all(line.startswith(str(tmp_path / "README.md")) for line in capsys.readouterr().err.splitlines())
    assert "--results needs" in refused(capsys, "card", "--lint", tmp_path / "README.md", "--results", trained.output / "results.json")
    assert f"{NAME}: well formed" in printed(capsys, "card", "--lint", NAME)


# ---- verify --------------------------------------------------------------------------------------------------------
def test_verify(folder: Path, capsys: Capture) -> None:
    text = printed(capsys, "verify", NAME)
    assert hub.read_config(hub.resolve(NAME))["umsrep"]["sha256"]["model.safetensors"] in text
    checks = json.loads(printed(capsys, "verify", folder, "--json"))
    assert {c["file"]: c["ok"] for c in checks} == {"model.safetensors": True, "heads.safetensors": True}
    damage(folder / "heads.safetensors")
    line = refused_with_output(capsys, "verify", folder)
    assert "heads.safetensors" in line
    assert "model.safetensors" not in line
    assert "neither a preset" in refused(capsys, "verify", "nothing-here")


def refused_with_output(capsys: Capture, *words: str | Path) -> str:
    """As `refused`, for a command that prints its findings before it fails."""
    capsys.readouterr()
    assert main([str(w) for w in words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("umsrep: ")]
    return line


# ---- publish -------------------------------------------------------------------------------------------------------
def test_dry_run_lists_what_would_go_up(folder: Path, capsys: Capture) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    text = printed(capsys, "publish", folder, "org/discs", "--dry-run")
    assert [line.split("  ")[0] for line in text.splitlines()[:4]] == ["config.json", "model.safetensors", "heads.safetensors", "README.md"]
    assert "nothing was uploaded" in text
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert "README.md" in printed(capsys, "publish", NAME, "org/cxr", "--dry-run"), "a preset has its card elsewhere"


def test_publish_uploads_the_card_of_the_repository(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    seen: dict[str, Any] = {}

    def upload(staged: Path, repo_id: str, **options: Any) -> hub.Published:
        seen.update(options, repo=repo_id, card=(staged / "README.md").read_text(), files=sorted(p.name for p in staged.iterdir()))
        return hub.Published(f"https://example.org/{repo_id}/commit/{'ab' * 20}", "ab" * 20)

    monkeypatch.setattr(hub, "upload", upload)
    out = printed(
        capsys, "publish", folder, "org/discs", "--tag", "v1", "--private", "--message", "first", "--token", "t", "--license", "mit"
    )
    card = (folder / "README.md").read_text().replace("license: unknown", "license: mit")
    assert seen["card"] == relocate(card, "org/discs", "v1")
    assert 'from_pretrained("org/discs", revision="v1")' in seen["card"]
    assert seen["files"] == ["README.md", "config.json", "heads.safetensors", "model.safetensors"]
    assert {k: seen[k] for k in ("repo", "tag", "private", "commit_message", "token", "create_pr", "revision")} == {
        "repo": "org/discs",
        "tag": "v1",
        "private": True,
        "commit_message": "first",
        "token": "t",
        "create_pr": False,
        "revision": None,
    }
    assert f'revision="{"ab" * 20}"' in out
    assert "MultiTaskModel" in out


def test_publish_refuses_before_anything_goes_up(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(hub, "upload", lambda *_, **__: pytest.fail("nothing may be uploaded"))
    assert "write ORG/REPO" in refused(capsys, "publish", folder, "discs")
    assert "neither a model folder nor a preset" in refused(capsys, "publish", "absent", "org/discs")
    assert "a pull request always asks for main" in refused(capsys, "publish", folder, "org/discs", "--pr", "--revision", "x")
    assert "cannot name a tag in git" in refused(capsys, "publish", folder, "org/discs", "--tag", "v 1")
    assert "license 'mitt' is not in the Hub's list" in refused(capsys, "publish", folder, "org/discs", "--license", "mitt")
    card = folder / "README.md"
    good = card.read_text()
    card.write_text(good.replace("For research only.", "For all.").replace("## Cost\n", "## Price\n"))
    capsys.readouterr()
    assert main(["publish", str(folder), "org/discs"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith(f"{folder}:") for line in lines] == [True, True, False], "each problem on a line of its own, then the error"
    assert "its card has 2 problem(s)" in lines[-1]
    card.unlink()
    assert "README.md" in refused(capsys, "publish", folder, "org/discs")
    card.write_text(good)
    damage(folder / "model.safetensors")
    assert "model.safetensors" in refused(capsys, "publish", folder, "org/discs")


def test_publish_compares_the_card_with_the_results_of_its_run(trained: Report, tmp_path: Path, capsys: Capture) -> None:
    run = Path(shutil.copytree(trained.output, tmp_path / trained.output.name))
    assert "dry run" in printed(capsys, "publish", run / "model", "org/discs", "--dry-run")
    results = json.loads((run / "results.json").read_text())
    results["verdict"] = "For discs, not for squares."
    for name, words in (("results.json", ()), ("other.json", ("--results", run / "other.json"))):
        kept = (run / "results.json").read_text()
        (run / name).write_text(json.dumps(results))
        capsys.readouterr()
        assert main([str(w) for w in ("publish", run / "model", "org/discs", "--dry-run", *words)]) == 2
        assert "the results say 'For discs, not for squares.' under 'Verdict'" in capsys.readouterr().err
        (run / "results.json").write_text(kept)


def test_no_path_of_the_author_stands_on_a_published_card(trained: Report, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    cards: list[str] = []

    def upload(staged: Path, repo_id: str, **_: Any) -> hub.Published:
        cards.append((staged / "README.md").read_text())
        return hub.Published("https://example.org", "ab" * 20)

    monkeypatch.setattr(hub, "upload", upload)
    printed(capsys, "publish", trained.model, "org/discs")
    assert "Made by:" in cards[0]
    assert str(trained.output.parent) not in cards[0]
    assert not re.search(r"[\s\"'`=(]/\w+/", cards[0])


# ---- names that are markup -----------------------------------------------------------------------------------------
def test_names_with_brackets_are_printed_as_they_are(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "zoo" / "[old] m")
    monkeypatch.chdir(tmp_path)  # a long path is broken over lines
    assert "[old] m" in printed(capsys, "list", "--from", "zoo")
