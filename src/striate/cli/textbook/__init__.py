"""`striate textbook graph|train|descend`: the textbook's mathematics, made visible."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from striate.core.errors import StriateError, perhaps
from striate.textbook.arrays import TextbookError

ACTIONS = {
    "graph": "a computation graph with values and gradients",
    "train": "train a network with NumPy alone",
    "descend": "watch update rules walk in two dimensions",
}
_HELP = """\
usage: striate textbook ACTION [...]        striate textbook ACTION --help tells more

{actions}

  striate textbook graph "(x+y)*z" x=-2 y=5 z=-4
  striate textbook descend --rule momentum --lr 1e-3 --on ravine --svg path.svg"""


def textbook(argv: Sequence[str]) -> int:
    """Dispatch to an action; the textbook's errors are the user's input."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_HELP.format(actions="\n".join(f"  {n:<9} {t}" for n, t in ACTIONS.items())))
        return 0
    if argv[0] not in ACTIONS:
        raise StriateError(f"no action 'textbook {argv[0]}'", perhaps(argv[0], ACTIONS))
    module = importlib.import_module(f"striate.cli.textbook.{argv[0]}")
    try:
        return int(getattr(module, argv[0])(argv[1:]))
    except TextbookError as error:
        raise StriateError(str(error)) from None
