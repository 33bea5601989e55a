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
