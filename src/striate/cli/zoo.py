"""`striate zoo`: the weights that a training may start from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import tyro

from striate.cli.flags import parse, wrapped
from striate.core.errors import StriateError, perhaps

HELP = """\
usage: striate zoo [--json]      what there is, and what is here
       striate zoo show NAME     the card of some weights, and whose tensor goes where
       striate zoo add RUN       keep a run's weights under a name

NAME is imagenet, a name of the list, torchvision:NAME, timm:NAME.TAG, a run, or a file.
`striate train DATA --weights NAME` starts from them."""


def zoo(argv: Sequence[str]) -> int:
    """List, show or add weights."""
    verbs: dict[str, Callable[..., int]] = {"show": _show, "add": _add, "list": _list}
    if argv and argv[0] in ("-h", "--help"):
        print(HELP)
        return 0
    if argv and not argv[0].startswith("-"):
        if argv[0] not in verbs:
            raise StriateError(f"striate zoo: no verb '{argv[0]}'", perhaps(argv[0], verbs))
        return int(parse(verbs[argv[0]], f"zoo {argv[0]}", argv[1:]))
    return int(parse(_list, "zoo", argv))


def _list(json: bool = False) -> int:
    """The weights that have a name, and which of them are on this machine.

    Args:
        json: print one JSON object
    """
    from striate.api.zoo import list_weights

    found = list_weights()
    if json:
        from striate.core.strict_json import one_line

        rows = [{**e.card.to_json(), "file": e.file and str(e.file)} for e in found]
        print(one_line({"weights": rows}))
        return 0
    for entry in found:
        card = entry.card
        print(f"{card.name}  ({'here' if entry.file else 'not here'})")
        facts = (
            card.architecture, f"{card.image_size} pixels", card.accuracy,
            f"trained on {card.trained_on}", f"{card.megabytes:.0f} MB", card.licence,
        )  # fmt: skip
        print(wrapped(", ".join(facts), 4))
    print("\n" + wrapped("torchvision:NAME and timm:NAME.TAG name any set of theirs.", 0))
    print("`striate zoo show NAME` tells more; `striate train DATA --weights NAME` starts from it.")
    return 0


def _show(
    name: Annotated[str, tyro.conf.Positional],
    model: str = "auto",
    json: bool = False,
) -> int:
    """The card of some weights, and the mapping of their tensors onto the network.

    Args:
        name: of the weights, as --weights takes it
        model: the network, where the weights do not say it
        json: print one JSON object
    """
    from striate.api.zoo import show_weights

    weights, matching = show_weights(name, model)
    card = weights.card
    if json:
        from striate.core.strict_json import one_line

        print(
            one_line({**card.to_json(), "matched": matching.how, "tensors": dict(matching.pairs)})
        )
        return 0
    norm = card.normalisation
    rows = {
        "network": card.architecture,
        "trained on": card.trained_on,
        "accuracy": card.accuracy,
        "classes": card.classes,
        "image size": f"{card.image_size} pixels, {card.resize}, the central {card.crop:.3g}",
        "mean": ", ".join(f"{v:g}" for v in norm.mean) if norm else "among the weights",
        "deviation": ", ".join(f"{v:g}" for v in norm.deviation) if norm else "among the weights",
        "channels": "red, green, blue" if card.channels == 3 else "grey",
        "source": card.source,
        "licence": card.licence,
        "file": f"{card.megabytes:.1f} MB, SHA-256 {card.sha256 or 'not known'}",
    }
    print(card.name)
    for key, value in rows.items():
        print(f"  {key:<11} {value}")
    print(matching.summary(card.name))
    for text in matching.lines():
        print(f"  {text}")
    return 0


def _add(run: Annotated[Path, tyro.conf.Positional], name: str = "") -> int:
    """Keep a run's best weights under a name.

    Args:
        run: folder of a training
        name: default: the folder's name
    """
    from striate.api.zoo import add_weights

    entry = add_weights(run, name)
    print(f"{entry.card.name}: {entry.card.architecture}, {entry.card.accuracy}; {entry.file}")
    print(f"start from them with: striate train DATA --weights {entry.card.name}")
    return 0
