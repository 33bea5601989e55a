"""Strict JSON, the one way in which values are written: no NaN, no infinity."""

from __future__ import annotations

import json
import math
from typing import Any


def finite(value: Any) -> Any:
    """The value with null for numbers that are not finite, which JSON cannot hold; NumPy's numbers
    and arrays become plain ones."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(finite(item) for item in value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def one_line(value: Any) -> str:
    """`value` on one line of ASCII, for logs and for whatever encoding a pipe has."""
    return json.dumps(finite(value), allow_nan=False)


def page(value: Any) -> str:
    """`value` indented, in UTF-8's letters, for files that people open."""
    return json.dumps(finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
