"""One way to fill a template: escaped, strict, and without characters that steer."""

from __future__ import annotations

import jinja2
import pytest
from markupsafe import Markup

from umsrep.tasks.web_page import render_page, visible


def test_what_steers_terminals_or_turns_text_becomes_question_marks_and_markup_stays() -> None:
    assert visible("a\x1b[31m\u202eb\nc") == "a?[31m?b\nc"
    assert visible(Markup("<b>\u202e</b>")) == Markup("<b>\u202e</b>")
    assert visible(3) == 3


def test_a_template_that_names_what_is_not_given_is_a_defect() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render_page("umsrep.tasks.evaluation")
