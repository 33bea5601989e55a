"""The page's types, made from the messages: `python -m striate.studio.typescript [FILE]`."""

from __future__ import annotations

import sys
import types
import typing
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from striate.core.files import write_atomically
from striate.studio import messages

FILE = Path("web/src/messages.ts")
_PLAIN = {int: "number", float: "number", str: "string", bool: "boolean", type(None): "null",
          Any: "unknown"}  # fmt: skip


def typescript() -> str:
    """All messages as interfaces."""
    made = [c for c in vars(messages).values() if isinstance(c, type) and is_dataclass(c)]
    parts = ["// Made by `python -m striate.studio.typescript` from studio/messages.py.\n"]
    for kind in made:
        hints = typing.get_type_hints(kind)
        lines = [f"  {f.name}: {written(hints[f.name])};" for f in fields(kind)]
        parts.append(f"export interface {kind.__name__} {{\n" + "\n".join(lines) + "\n}\n")
    return "\n".join(parts)


def written(hint: Any) -> str:
    """A Python type in TypeScript. Raises ValueError for one that JSON has no form of."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    if is_dataclass(hint):
        return str(getattr(hint, "__name__", hint))
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " | ".join(f'"{value}"' for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(written, arguments))
    if origin is list:
        inner = written(arguments[0])
        return f"({inner})[]" if "|" in inner else f"{inner}[]"
    if origin is dict:
        return f"Record<{written(arguments[0])}, {written(arguments[1])}>"
    raise ValueError(f"no TypeScript for {hint}")


if __name__ == "__main__":
    write_atomically(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE, typescript())
