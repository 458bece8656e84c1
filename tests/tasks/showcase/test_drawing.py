"""Sheets: nothing cut off, the right colours, small files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from umsrep.errors import InputError
from umsrep.tasks.showcase.drawing import (
    ERROR_WHITE,
    LINE,
    PREDICTED,
    TRUTH,
    Panel,
    _font,
    encode,
    error_map,
    grey,
    legend,
    outlined,
    resized_mask,
    sheet,
    wrapped,
)


def test_grey_clips_and_keeps_a_picture_of_the_right_size() -> None:
    image = np.array([[-1.0, 0.5], [2.0, 0.0]], dtype=np.float32)
    assert grey(image, 2).tolist() == [[0, 128], [255, 0]]
    assert grey(image, 6).shape == (6, 6)


def test_the_error_map_is_black_where_there_is_none_and_white_from_the_limit_on() -> None:
    clean = np.zeros((1, 3), dtype=np.float32)
    drawn = error_map(np.array([[0.0, -ERROR_WHITE, 1.0]], dtype=np.float32).repeat(3, 0), clean.repeat(3, 0), 3)
    assert drawn[0].tolist() == [0, 255, 255]


def test_masks_keep_their_classes() -> None:
    mask = np.zeros((8, 8), dtype=int)
    mask[:4, :4], mask[4:, 4:] = 1, 7
    large = resized_mask(mask, 12)
    assert set(np.unique(large)) == {0, 1, 7}
    assert (large[1, 1], large[10, 10], large[1, 10]) == (1, 7, 0)


def test_outlines_of_truth_and_prediction_have_the_legends_colours() -> None:
    truth, predicted = np.zeros((16, 16), dtype=int), np.zeros((16, 16), dtype=int)
    truth[2:8, 2:8], predicted[9:15, 9:15] = 1, 2
    drawn = outlined(np.zeros((16, 16), dtype=np.float32), truth, predicted, 64)
    found = {tuple(c) for c in drawn.reshape(-1, 3).tolist()}
    assert found == {(0, 0, 0), TRUTH[0], PREDICTED[1]}
    assert legend(["a", "b"])[0] == ("a, truth", TRUTH[0], False)
    assert legend(["a", "b"], truth=False) == [("a, prediction", PREDICTED[0], True), ("b, prediction", PREDICTED[1], True)]


@pytest.mark.parametrize("text", ["one two three four five six", "mitral_inflow_impaired_relaxation or other", "x" * 80, ""])
def test_lines_are_never_wider_than_their_panel_and_lose_nothing(text: str) -> None:
    lines = wrapped(text, 90)
    assert all(_font().getlength(line) <= 90 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_text_breaks_at_spaces_and_after_underscores() -> None:
    assert wrapped("says: normal", 1000) == ["says: normal"]
    assert wrapped("aaaaaa bbbbbb", 60) == ["aaaaaa", "bbbbbb"]
    assert wrapped("aaaaaa_bbbbbb", 60) == ["aaaaaa_", "bbbbbb"]


def test_a_sheet_holds_every_panel_unchanged_and_grows_with_its_captions() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (20, 120), dtype=np.uint8) for _ in range(3)]
    short = sheet([Panel(p, ("a",)) for p in pictures], 2)
    assert short.shape[1] == 2 * 120 + 6
    assert (short[:20, :120, 0] == pictures[0]).all()
    assert (short[:20, 126:, 0] == pictures[1]).all()
    long = sheet([Panel(p, ("a", "b")) for p in pictures], 2, titles=("t",), lines=legend(["lung"], truth=False))
    assert len(long) == len(short) + 2 * LINE + LINE + LINE  # a line in two rows, titles, one line of legend
    assert (long[LINE : LINE + 20, :120, 0] == pictures[0]).all()


def test_panels_of_different_sizes_and_none_are_refused() -> None:
    with pytest.raises(InputError, match="one size"):
        sheet([], 2)
    with pytest.raises(InputError, match="one size"):
        sheet([Panel(np.zeros((2, 2), np.uint8)), Panel(np.zeros((2, 3), np.uint8))], 2)


def test_files_are_as_good_as_their_limits_allow() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    flat = np.full((64, 64, 3), 128, dtype=np.uint8)
    files, best = encode({"noise": noise, "flat": flat}, each=10**6, together=10**6)
    assert Image.open(io.BytesIO(files["flat"])).mode == "L"  # grey is stored as grey
    assert Image.open(io.BytesIO(files["noise"])).size == (64, 64)
    limit = len(files["noise"]) - 1
    smaller, quality = encode({"noise": noise, "flat": flat}, each=limit, together=10**6)
    assert quality < best
    assert len(smaller["noise"]) <= limit
    files, quality = encode({"noise": noise, "flat": flat}, each=10**6, together=limit)
    assert quality < best
    assert sum(map(len, files.values())) <= limit
    with pytest.raises(InputError, match="show fewer pictures"):
        encode({"noise": noise}, each=10, together=10**6)
