"""The error family and its suggestions."""

from __future__ import annotations

import pickle

from umsrep.errors import InputError, nearest


def test_input_error_is_a_value_error() -> None:
    assert issubclass(InputError, ValueError)


def test_near_names_are_offered_nearest_first() -> None:
    assert nearest("unett", ["fpn", "manet", "unet"]) == "; did you mean 'unet' or 'manet'?"


def test_at_most_so_many_names_are_offered() -> None:
    names = [f"resnet{i}" for i in (10, 11, 12, 13, 14)]
    assert nearest("resnet1", names).count("'") == 6
    assert nearest("resnet1", names, most=1).count("'") == 2


def test_without_a_near_name_all_are_listed_sorted() -> None:
    assert nearest("zzzz", ["b", "a", "b"]) == "; known: a, b"


def test_a_long_list_is_cut_and_says_how_many_there_are() -> None:
    text = nearest("zzzz", [f"name{i:02d}" for i in range(21)])
    assert "name19" in text
    assert "name20" not in text
    assert text.endswith("... (21 in all)")
    assert "in all" not in nearest("zzzz", [f"name{i:02d}" for i in range(20)])


def test_nothing_known_says_nothing() -> None:
    assert nearest("anything", []) == ""


def test_options_may_be_an_iterator() -> None:
    assert nearest("linnet", iter(["linknet"])) == "; did you mean 'linknet'?"


def test_a_message_is_one_printable_line_however_long_its_parts() -> None:
    assert str(InputError("a\x1b[31m\r\nb\u202ec\ud800")) == r"a\x1b[31m\r\nb\u202ec\ud800"
    text = str(InputError("start " + "x" * 10**6 + " end"))
    assert text.startswith("start x")
    assert text.endswith("x end")
    assert len(text) <= 2000
    assert len(str(InputError("\u202e" * 10**6))) <= 2000
    assert str(pickle.loads(pickle.dumps(InputError("a\nb")))) == r"a\nb"
