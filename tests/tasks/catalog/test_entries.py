"""What is listed: presets with their results files, model folders, an organisation's cards; strangers' cards are taken with care."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.catalog.made_up import results_file
from umsrep.errors import InputError
from umsrep.tasks.catalog.entries import collect
from umsrep.zoo import PRESETS, Encoder, InputContract, listing
from umsrep.zoo.card import metadata_of, read_card

NAME = "ums-cxr-efficientnet-lite0"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with one run that has results, one whose results are broken, and a model of no run."""
    encoder = Encoder.create("test_efficientnet", contract=InputContract(), modality="us")
    for name, content in (("good", json.dumps(results_file(3))), ("broken", '{"schema_version": 1, "licence": "mit"}')):
        encoder.save_pretrained(tmp_path / name / "model")
        (tmp_path / name / "report.json").write_text("{}")
        (tmp_path / name / "results.json").write_text(content)
    encoder.save_pretrained(tmp_path / "plain")
    return tmp_path


def test_presets_bring_their_results_files() -> None:
    entries, problems = collect()
    assert problems == []
    assert [e.listed.name for e in entries] == list(PRESETS)
    entry = next(e for e in entries if e.listed.name == NAME)
    assert entry.complete
    assert entry.place == "shipped with umsrep"
    assert len(entry.results.measurements) > 20
    assert any(m.images for m in entry.results.measurements)
    assert 10 < (entry.mebibytes or 0) < 11
    assert (entry.size, entry.listed.parameters) == ((192, 192), 5_141_228)
    card = read_card(NAME)
    assert list(entry.code) == ["umsrep", "timm", "segmentation-models-pytorch"]
    assert all(f"```python\n{code}\n```" in card for code in entry.code.values())


def test_folders_have_results_card_or_neither_and_what_is_broken_is_said(runs: Path) -> None:
    entries, problems = collect([str(runs)])
    own = {e.listed.name: e for e in entries if e.place == "folder"}
    assert set(own) == {str(runs / part) for part in ("good/model", "broken/model", "plain")}
    good, broken = own[str(runs / "good/model")], own[str(runs / "broken/model")]
    assert (good.complete, broken.complete, own[str(runs / "plain")].complete) == (True, False, False)
    assert good.results.measurements
    assert not broken.results.measurements
    assert good.listed.modality == "us"
    assert (good.mebibytes or 0) > 0.1
    assert f'from_pretrained("{runs}/good/model")' in (good.code["umsrep"] or "")
    assert len(problems) == 1
    assert "broken/results.json: unknown key 'licence'" in problems[0]
    assert [e.listed.name for e in collect([str(runs / "plain"), str(runs / "plain")])[0]] == [*PRESETS, str(runs / "plain")], "each once"


def test_a_folder_named_like_a_repository_is_loaded_as_a_folder(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    entry = next(e for e in collect(["good"])[0] if e.listed.name == "good/model")
    assert 'from_pretrained("./good/model")' in (entry.code["umsrep"] or "")


def test_what_is_no_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'\./nowhere' is no folder, and no organisation"):
        collect(["./nowhere"])
    with pytest.raises(InputError, match="holds no model that can be read"):
        collect([str(tmp_path)])
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds no model that can be read: .*no 'umsrep' block"):
        collect([str(tmp_path)])


def test_cards_of_the_hub_tell_what_they_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    good = metadata_of(read_card(NAME))
    bad: dict[str, Any] = {
        "license": ["mit"],
        "datasets": "x",
        "model-index": [{"results": [{"dataset": {"name": 5}, "metrics": [{"type": "dice", "value": 0.5}]}]}],
        "umsrep": {"contract": {"channels": "1)\nimport os"}, "heads": [], "strides": 4},
    }
    monkeypatch.setattr(listing, "hub_metadata", lambda author, token: {f"{author}/good": good, f"{author}/bad": bad, f"{author}/bare": {}})
    found = {e.listed.name: e for e in collect(["org"])[0]}
    first = found["org/good"].results.measurements[0]
    assert (first.data, first.split, first.images) == ("cxr_guangzhou", "test", None)
    assert first.interval is not None
    assert first.value is not None
    assert first.interval[0] < first.value < first.interval[1]
    assert 'Encoder.from_pretrained("org/good")' in (found["org/good"].code["umsrep"] or "")
    assert '"hf-hub:org/good"' in (found["org/good"].code["timm"] or "")
    assert found["org/good"].results.license == "cc-by-4.0"
    for name in ("org/bad", "org/bare"):
        assert found[name].code == {}, "nobody is handed code with somebody else's words in it"
        assert found[name].results.measurements == ()
        assert (found[name].size, found[name].mebibytes, found[name].results.license) == (None, None, "unknown")
