"""umsrep inspect: what it prints, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tasks.cli.console import Capture, printed, refused
from tests.tiny import write_tiny_data
from umsrep.tasks.cli import main


def test_inspect(tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    text = printed(capsys, "inspect", tiny_data)
    assert "24 rows" in text
    assert "validation" in text
    assert json.loads(printed(capsys, "inspect", tiny_data, "--json"))["rows"] == 24
    folder = write_tiny_data(tmp_path / "data")
    (folder / "images" / "04.png").unlink()
    assert main(["inspect", str(folder)]) == 2
    assert "row 6 (images/04.png)" in capsys.readouterr().err
    assert main(["inspect", str(folder), "--json"]) == 2
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 1
    assert "no such data folder" in refused(capsys, "inspect", tmp_path / "absent")
