"""Pages that need nothing else: one HTML file with its pictures, styles and script inside.

Every text goes through Jinja's escaping, and the page forbids itself the network, so a class called
`<script>` is a name and nothing more (F21).
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from striate.report.explained import short


def render(template: str, **values: Any) -> str:
    """A page of `templates/`."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=lambda name: bool(name and ".html" in name),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "figure3": figure3,
        "percent": percent,
        "count": count,
        "words": words,
        "between": between,
        "md": md,
        "short": short,
    }
    return made


def figure3(value: float | None) -> str:
    """Three decimals, or a dash for what does not exist."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"


def between(pair: Sequence[float] | None) -> str:
    """An interval as text: `0.940–0.981`, or a dash."""
    return f"{figure3(pair[0])}–{figure3(pair[1])}" if pair else "–"


def percent(value: float | None) -> str:
    """As percent with one decimal."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def count(value: float) -> str:
    """With separators of thousands."""
    return f"{value:,.0f}"


def md(text: str) -> str:
    """A name or a sentence as Markdown shows it, and nothing more."""
    plain = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", plain)


def words(name: str) -> str:
    """A score's or rule's name in words."""
    plain = name.replace("_", " ").replace("top5", "top-5").replace("roc", "ROC")
    return {"f1": "F1", "macro f1": "macro F1", "n": "images", "grad cam": "Grad-CAM"}.get(
        plain, plain
    )
