"""Pages that need nothing else: one template of a package, everything escaped, nothing fetched."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup


def render_page(package: str, **values: Any) -> str:
    """Fill the ``page.html`` of a package.

    Names of files and labels come from anywhere: text is escaped, and `visible` is applied to it. `Markup` stays as it is.

    Args:
        package: Whose ``page.html`` it is, such as ``umsrep.tasks.choose``.
        **values: What the template names; one that it names and that is not given is a defect.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=visible
    )
    template = environment.from_string(resources.files(package).joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(**values)


def visible(value: Any) -> Any:
    """Replace what steers a terminal or turns the direction of text by question marks, which HTML's own escapes do not."""
    if isinstance(value, Markup):  # what a macro made of values that came through here
        return value
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in value) if isinstance(value, str) else value
