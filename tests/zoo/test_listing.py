"""Which models there are: presets, folders, and an organisation on a Hub (a server on 127.0.0.1)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from umsrep.errors import InputError
from umsrep.zoo import PRESETS, Encoder, InputContract
from umsrep.zoo.card import metadata_of, read_card
from umsrep.zoo.listing import Listed, from_metadata, list_folder, list_hub, list_presets, measured_text, rows_of, select

NAME = "ums-cxr-efficientnet-lite0"


def test_presets_tell_what_their_cards_measured() -> None:
    entries = {e.name: e for e in list_presets()}
    assert set(entries) == set(PRESETS)
    entry = entries[NAME]
    assert (entry.modality, entry.arch, entry.license) == ("cxr", "tf_efficientnet_lite0", "cc-by-4.0")
    assert 5e6 < (entry.parameters or 0) < 6e6
    assert entry.macs_size == [1, 192, 192]
    assert [row["head"] for row in entry.measured] == list(dict.fromkeys(row["head"] for row in entry.measured))
    assert set(entry.heads) == {row["head"] for row in entry.measured}
    assert measured_text(entry).startswith("lungs: Dice 0.9")


def test_every_number_of_a_card_is_a_row() -> None:
    rows = rows_of(metadata_of(read_card(NAME))["model-index"])
    assert len(rows) > 10
    assert {"head", "metric", "value", "data", "split", "interval"} == set(rows[0])
    assert rows[0]["interval"][0] < rows[0]["value"] < rows[0]["interval"][1]
    assert any(row["interval"] is None for row in rows)
    assert {"auroc", "dice", "psnr_gain"} <= {row["metric"] for row in rows}


@pytest.mark.parametrize("index", [None, 5, {}, [1], [{"results": 3}], [{"results": [{"metrics": [{"value": "x"}], "task": 1}]}]])
def test_a_foreign_index_gives_no_rows_and_no_crash(index: Any) -> None:
    assert rows_of(index) == []
    strange = {"umsrep": {"heads": [], "parameters": "many", "modality": 3}, "license": ["mit"], "model-index": index}
    assert from_metadata("x", strange) == Listed("x")


def test_numbers_that_no_float_holds_are_not_said() -> None:
    huge = 10**400
    listed = from_metadata("m", {"umsrep": {"parameters": huge, "macs": 5}})
    assert (listed.parameters, listed.macs) == (None, 5)
    metrics = [{"type": "dice", "value": huge}, {"type": "dice", "value": 0.5, "args": {"interval": [0, huge]}}]
    (row,) = rows_of([{"results": [{"task": {"name": "lungs"}, "dataset": {"name": "d"}, "metrics": metrics}]}])
    assert (row["value"], row["interval"]) == (0.5, None)


def test_a_folder_of_models(tmp_path: Path) -> None:
    encoder = Encoder.create("test_efficientnet", contract=InputContract(), modality="us")
    encoder.save_pretrained(tmp_path / "one")
    encoder.save_pretrained(tmp_path / "run" / "model")
    (encoder.save_pretrained(tmp_path / "bare") / "README.md").unlink()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    (tmp_path / "data").mkdir()
    entries, problems = list_folder(tmp_path)
    assert [e.name for e in entries] == [str(tmp_path / part) for part in ("bare", "one", "run/model")]
    assert {(e.modality, e.arch) for e in entries} == {("us", "test_efficientnet")}
    assert [e.license for e in entries] == [None, "unknown", "unknown"]
    assert len(problems) == 1
    assert "broken/config.json" in problems[0]
    assert list_folder(tmp_path / "one")[0][0].arch == "test_efficientnet", "a model folder itself"


def test_selecting() -> None:
    entries = [Listed("b/us-x", "us"), Listed("a", "cxr"), Listed("b/cxr-x", "cxr")]
    assert [e.name for e in select(entries, "*", None)] == ["a", "b/cxr-x", "b/us-x"]
    assert [e.name for e in select(entries, "us*", None)] == ["b/us-x"]
    assert [e.name for e in select(entries, "b/*", "cxr")] == ["b/cxr-x"]
    with pytest.raises(InputError, match=r"no encoder for modality 'cxt'.*cxr"):
        select(entries, "*", "cxt")


# ---- the Hub -------------------------------------------------------------------------------------------------------
class Api(BaseHTTPRequestHandler):
    """Answers /api/models?author=...&filter=umsrep with one model that has a card and one that has none.

    "closed" may not be listed; "bare" is an organisation and "mia" a user, both without models; nobody else exists.
    """

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        models: list[dict[str, Any]] = []
        if asked.get("author") == ["org"] and asked.get("filter") == ["umsrep"]:
            card = metadata_of(read_card(NAME))
            models = [{"id": "org/cxr", "cardData": card, "tags": card["tags"]}, {"id": "org/bare", "tags": ["umsrep"]}]
        there = ("/api/models", "/api/organizations/bare/overview", "/api/users/mia/overview")
        wrong = 403 if asked.get("author") == ["closed"] else 404 if urlsplit(self.path).path not in there else 0
        if "overview" in self.path:
            self.answer(wrong, b'{"name": "bare", "fullname": "", "avatarUrl": "", "user": "mia"}')
            return
        self.answer(wrong, b"{}" if wrong else json.dumps(models).encode())

    def answer(self, wrong: int, body: bytes) -> None:
        """Send it."""
        self.send_response(wrong or 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


@pytest.fixture
def hub_environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = Path(__file__).resolve().parents[2]
    own = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path),
        "PYTHONPATH": str(root),
    }
    yield os.environ | own
    server.shutdown()
    server.server_close()


def test_an_organisation_on_the_hub(hub_environment: dict[str, str]) -> None:
    """In a child process: huggingface_hub reads its environment when it is imported."""
    code = """
import dataclasses, json
from umsrep.errors import InputError
from umsrep.zoo import listing
found = [dataclasses.asdict(e) for e in listing.list_hub("org")]
said = []
for name in ("closed", "nosuchorg"):
    try:
        listing.list_hub(name)
    except InputError as error:
        said.append(str(error))
print(json.dumps([found, listing.list_hub("bare") + listing.list_hub("mia"), said]))
"""
    done = subprocess.run([sys.executable, "-c", code], env=hub_environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found, empty, (closed, unknown) = json.loads(done.stdout)
    assert [e["name"] for e in found] == ["org/cxr", "org/bare"]
    preset = next(e for e in list_presets() if e.name == NAME)
    assert found[0]["measured"] == preset.measured
    assert (found[0]["parameters"], found[0]["license"], found[0]["modality"]) == (preset.parameters, "cc-by-4.0", "cxr")
    assert found[1]["arch"] is None
    assert empty == []
    assert "403" in closed
    assert unknown == f"'nosuchorg' is no organisation and no user on {hub_environment['HF_ENDPOINT']}"


def test_offline_is_said() -> None:
    with pytest.raises(InputError, match="HF_HUB_OFFLINE forbids the network"):
        list_hub("org")
