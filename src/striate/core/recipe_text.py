"""What is written about knobs: docstrings below fields, and which knobs people use every day."""

from __future__ import annotations

import ast
from functools import cache
from itertools import pairwise
from pathlib import Path

EVERYDAY = (
    "model", "weights", "freeze", "epochs", "minutes", "batch_size", "lr", "image_size", "device",
    "workers", "seed", "optim.rule", "regularise.l2", "augment.flip", "augment.policy",
    "data.resize",
    "data.val_fraction", "group_by", "folds", "label_column", "class_level", "skip_bad", "allow",
    "exclude",
)  # fmt: skip
"""The knobs that `--help` shows; `--help-all` has them all."""


@cache
def documented(file: str) -> dict[str, str]:
    """`Class.field` → the text below the field, of a module's dataclasses."""
    found = {}
    for node in ast.parse(Path(file).read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for one, after in pairwise(node.body):
            value = getattr(getattr(after, "value", None), "value", None)
            named = one.target if isinstance(one, ast.AnnAssign) else None
            if isinstance(named, ast.Name) and isinstance(value, str):
                found[f"{node.name}.{named.id}"] = value
    return found


def reference() -> str:
    """docs/knobs.md: every knob with its default and its text. `python -m
    striate.core.recipe_text > docs/knobs.md` writes it."""
    from striate.core import recipe, recipe_io

    texts, defaults = documented(recipe.__file__), recipe_io.flat(recipe.Recipe())
    groups: dict[str, list[str]] = {}
    short = {dotted: name for name, dotted in recipe.SHORT_FLAGS.items()}
    for name, value in defaults.items():
        group, _, leaf = name.rpartition(".")
        text = texts.get(f"{group.capitalize()}.{leaf}" if group else f"Recipe.{leaf}", "")
        flag = f"`--{name.replace('_', '-')}`"
        if name in short and short[name] != name:
            flag += f", `--{short[name].replace('_', '-')}`"
        shown = "none" if value is None else "–" if value in ("", (), []) else value
        plain = " ".join(text.split()).replace("|", "\\|")
        groups.setdefault(group or "general", []).append(f"| {flag} | {shown} | {plain} |")
    parts = [_REFERENCE]
    for group, rows in groups.items():
        parts += [f"## {group}\n", "| knob | default | what it does |", "|---|---|---|", *rows, ""]
    return "\n".join(parts).rstrip() + "\n"


_REFERENCE = """\
# Every knob

A recipe has these knobs. On the command line each is a flag, the everyday ones under a short name
too; in Python `striate.train(data, lr=0.01, **{"optim.rule": "adamw"})`; in a file (`--recipe`)
YAML. "auto" is decided from the data and by measurement; a run writes down what it became and why
(`resolved.json`).

```console
$ striate train --help
…
```
"""


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201
