"""The commands about encoders and model folders: what they print and write, and how they refuse."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tasks.cli.console import Capture, printed, refused
from umsrep.tasks.cli import main
from umsrep.tasks.trainer import Report


def test_list(capsys: Capture) -> None:
    names = [entry["name"] for entry in json.loads(printed(capsys, "list", "--json"))]
    assert names == sorted(names)
    assert printed(capsys, "list")
    assert "no encoder matches 'zzz*'" in printed(capsys, "list", "zzz*")
    assert json.loads(printed(capsys, "list", "zzz*", "--json")) == []
    assert "no encoder for modality 'mri'" in refused(capsys, "list", "--modality", "mri")


def test_card(trained: Report, tmp_path: Path, capsys: Capture) -> None:
    assert printed(capsys, "card", trained.model) == (trained.model / "README.md").read_text()
    assert "no-such-preset" in refused(capsys, "card", "no-such-preset")
    assert "give a name, or --lint PATH" in refused(capsys, "card")
    (tmp_path / "README.md").write_text("no card\n")
    assert main(["card", "--lint", str(tmp_path / "README.md")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(line.startswith(str(tmp_path / "README.md")) for line in captured.err.splitlines())
