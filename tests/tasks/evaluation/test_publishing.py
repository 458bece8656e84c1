"""A review as a folder: written whole, rendered again from its JSON alone, and looked at in a browser where there is one."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.tasks.evaluation.reviews import whole_review
from tests.tasks.runs import tiny_model
from umsrep.errors import InputError
from umsrep.tasks.evaluation.checklist import fill
from umsrep.tasks.evaluation.publishing import check_folder, read_review, render_again, write_pages, write_review
from umsrep.tasks.evaluation.review import review


@pytest.fixture(scope="module")
def written(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A real review of an untrained model on four rows, and its folder."""
    model = tiny_model(tiny_data)
    found = review(model, tiny_data, resamples=20, title=None)
    folder = tmp_path_factory.mktemp("review") / "out"
    return folder, write_review(found, folder, model=model, pictures=2)


def test_the_folder_holds_page_json_checklists_and_pictures(written: tuple[Path, dict[str, Any]]) -> None:
    folder, whole = written
    assert {path.name for path in folder.iterdir()} == {"review.json", "review.html", "checklist.md", "gallery"}
    assert json.loads((folder / "review.json").read_text(encoding="utf-8")) == json.loads(json.dumps(whole))
    assert whole["gallery"].keys() == whole["tasks"].keys()
    page = (folder / "review.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(list((folder / "gallery").iterdir()))
    assert "images/2" not in page  # no file name
    assert "TRIPOD+AI" in (folder / "checklist.md").read_text(encoding="utf-8")


def test_the_page_is_a_function_of_the_json(written: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(written[0], folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    (folder / "review.html").unlink()
    assert render_again(folder) == folder / "review.html"
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_only_reviews_are_replaced(tmp_path: Path) -> None:
    assert check_folder(tmp_path / "new") == tmp_path / "new"
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(InputError, match="something other than a review"):
        check_folder(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        check_folder(tmp_path / "thesis.docx")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "is no review"),
        ('{"kind": "umsrep review", "schema_version": 2}', "schema_version 2"),
        (
            '{"kind": "umsrep review", "schema_version": 1, "model": {"name": "m"}, "data": {"path": "d"}, "tasks": {}}',
            "misses what a review",
        ),
    ],
)
def test_what_is_no_review_is_refused_in_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "review.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        render_again(tmp_path)


def test_other_runs_join_a_review(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("page", "east")]
    for folder in folders:
        folder.mkdir()
        write_pages(whole_review() | {"checklist": fill(whole_review())}, folder)
    (tmp_path / "shifts.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="is no JSON of"):
        render_again(folders[0], shifts=tmp_path / "shifts.json")
    render_again(folders[0], left_out=[folders[1]], model="ums-cxr-efficientnet-lite0")
    whole = read_review(folders[0])
    assert len(whole["left_out"]) == 1
    assert "cxr\\_guangzhou" in (folders[0] / "checklist.md").read_text(encoding="utf-8")
    assert "Sites left out" in (folders[0] / "review.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "bright"), [(1, True), (0, False)])
def test_a_browser_shows_it_light_and_dark(tmp_path: Path, scheme: int, bright: bool) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium")
    write_pages(whole_review() | {"checklist": fill(whole_review())}, tmp_path)
    picture = tmp_path / "page.png"
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    options += f" --disable-component-update --disable-sync --hide-scrollbars --user-data-dir={tmp_path / 'profile'}"
    options += f" --blink-settings=preferredColorScheme={scheme} --window-size=1180,3000 --screenshot={picture}"
    subprocess.run([browser, *options.split(), f"file://{tmp_path / 'review.html'}"], check=True, capture_output=True, timeout=180)
    pixels = np.asarray(Image.open(picture).convert("L"))
    assert pixels.shape == (3000, 1180)
    assert (np.median(pixels) > 200) is np.True_ if bright else np.median(pixels) < 60
    assert pixels.std() > 10  # there is text on it
    assert np.median(pixels[:, :20]) == np.median(pixels[:, -20:])  # nothing runs over the page's edge
