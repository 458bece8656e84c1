"""Sections of a card as one line."""

from __future__ import annotations

from umsrep.tasks.evaluation.checklist_sources import Sources

CARD = """# Name

## Pretraining data
Films of `children`.
- first point

| set | rows |
| --- | ---: |
| a | 10 |
| b | |

after the table
### Deeper
not this

## Other
"""


def sources(card: str) -> Sources:
    return Sources({"tasks": {"size": 1}}, card, {}, None, None)


def test_a_section_is_one_line_with_its_table_as_words() -> None:
    found = sources(CARD)
    assert found.section("Pretraining data") == "Films of children. first point set: a, rows: 10. set: b. after the table"
    assert found.section("Deeper") == "not this"
    assert found.section("Other") == ""
    assert found.tasks == {"size": 1}


def test_what_is_not_there_is_empty_and_headings_are_no_patterns() -> None:
    assert sources(CARD).section("Pretraining") == ""
    assert sources(CARD).section("Pretraining.data") == ""
    assert sources("").section("Pretraining data") == ""
