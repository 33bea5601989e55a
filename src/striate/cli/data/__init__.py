"""`striate data …`: look at data before training."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from striate.core.errors import StriateError, perhaps

ACTIONS = {
    "show": ("striate.cli.data.show:show", "counts, sizes, splits, classes, a contact sheet"),
    "check": ("striate.cli.data.check:check", "copies, bad files, doubtful labels, odd images"),
    "augment": ("striate.cli.data.augment:augment", "originals beside their augmented variants"),
    "convert": ("striate.cli.data.convert:convert", "boxes from one form into another"),
    "shard": ("striate.cli.data.shard:shard", "write tar shards with an index"),
}


def data(argv: Sequence[str]) -> int:
    """Dispatch `data ACTION`."""
    if not argv or argv[0] in ("-h", "--help"):
        lines = "\n".join(f"  {name:<8} {text}" for name, (_, text) in ACTIONS.items())
        print(f"usage: striate data ACTION DATA [...]\n\n{lines}")
        return 0
    if argv[0] not in ACTIONS:
        raise StriateError(f"no action 'data {argv[0]}'", perhaps(argv[0], ACTIONS))
    module, _, function = ACTIONS[argv[0]][0].partition(":")
    return int(getattr(importlib.import_module(module), function)(argv[1:]))
