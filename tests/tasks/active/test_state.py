"""The state: what it refuses, what may change in the table, and that it is written whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.tasks.runs import put, rewrite
from tests.tiny import write_tiny_data
from umsrep import InputError
from umsrep.tasks.active import state
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.feature_cache import digest_images
from umsrep.zoo.folder import write_whole


def add(folder: Path, rows: list[int], columns: tuple[str, ...] = ("label",)) -> state.State:
    manifest = load_manifest(folder)
    past = state.read_state(folder / "acquire")
    digests = digest_images(manifest, rows)
    entry = {
        "number": len(past.rounds) + 1,
        "columns": list(columns),
        "rows": [{"file_name": manifest.columns["file_name"][r], "frame": "", "sha256": d} for r, d in zip(rows, digests, strict=True)],
    }
    state.add_round(past, entry, [{"rank": 1}])
    return state.read_state(folder / "acquire")


def matched(folder: Path) -> dict[int, Any]:
    manifest = load_manifest(folder)
    return state.match(state.read_state(folder / "acquire"), manifest, manifest.rows("train"))


def test_rows_are_known_again_in_another_order_with_new_cells(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path)
    assert matched(folder) == {}
    add(folder, [5, 8])
    add(folder, [5], ("mask_file_name",))
    assert (folder / "acquire" / "round_002.csv").read_text() == "rank\n1\n"
    assert {row: [one.number for one in found] for row, found in matched(folder).items()} == {5: [1, 2], 8: [1]}
    rewrite(folder, put(5, "label", "large"))
    rewrite(folder, lambda records: [{**r, "new": "1"} for r in reversed(records)])
    assert set(matched(folder)) == {23 - 5, 23 - 8}


def test_a_table_that_lost_a_proposed_row_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "a")
    add(folder, [8])
    rewrite(folder, put(8, "split", "validation"))
    rewrite(folder, put(9, "split", "validation"))
    with pytest.raises(InputError, match=r"images/08.png', proposed in round 1, is no longer in the training split.*--state"):
        matched(folder)
    rewrite(folder, lambda records: [r for i, r in enumerate(records) if i != 8])
    with pytest.raises(InputError, match=r"is no longer in .*metadata\.csv"):
        matched(folder)


def test_another_image_under_the_name_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path)
    add(folder, [8])
    Image.fromarray(np.zeros((40, 48), dtype=np.uint8)).save(folder / "images" / "08.png")
    with pytest.raises(InputError, match=r"row 10 .*not the image that was proposed in round 1"):
        matched(folder)


def test_an_image_in_two_rows_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path)
    rewrite(folder, put(3, "file_name", "images/02.png"))
    with pytest.raises(InputError, match=r"row 5 .*the same image as row 4"):
        matched(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "schema_version None"),
        (json.dumps({"schema_version": 2, "rounds": []}), "schema_version 2"),
        (json.dumps({"schema_version": 1}), "is damaged"),
        (json.dumps({"schema_version": 1, "rounds": [{"number": 2, "columns": [], "rows": []}]}), "is damaged"),
        (json.dumps({"schema_version": 1, "rounds": [{"number": 1, "columns": ["label"], "rows": [{"file_name": 3}]}]}), "is damaged"),
    ],
)
def test_a_damaged_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(InputError, match=message):
        state.read_state(tmp_path)


def test_two_at_once_do_not_overwrite_each_other(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path)
    before = state.read_state(folder / "acquire")
    add(folder, [5])
    with pytest.raises(InputError, match="another `umsrep acquire`"):
        state.add_round(before, {"number": 1, "columns": [], "rows": []}, [{"rank": 1}])


def test_a_round_whose_state_was_not_written_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_data(tmp_path)
    written = write_whole

    def stop(path: Path, write: Any) -> None:
        if path.name == state.FILE:
            raise KeyboardInterrupt
        written(path, write)

    with monkeypatch.context() as patch:
        patch.setattr(state, "write_whole", stop)
        with pytest.raises(KeyboardInterrupt):
            add(folder, [5])
    assert state.read_state(folder / "acquire").rounds == ()
    assert len(add(folder, [8]).rounds) == 1


def test_where_the_state_is(tmp_path: Path, tiny_data: Path) -> None:
    manifest = load_manifest(tiny_data)
    assert state.state_folder(manifest, None) == tiny_data / "acquire"
    assert state.state_folder(manifest, tmp_path / "other") == tmp_path / "other"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        state.state_folder(manifest, tmp_path / "file")
