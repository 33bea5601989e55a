"""The playground's sessions, one for each open page, and the answers of the other small worlds."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from striate.core.errors import RecipeError, StriateError
from striate.core.strict_json import finite
from striate.labs import descent
from striate.labs.expression import parse, parse_value
from striate.labs.naming import formula, name_nodes, shown
from striate.labs.playground import Playground
from striate.studio.messages import Convolved, Descent, Graph, GraphNode, Walk
from striate.studio.rows import finding_row
from striate.textbook.convolution import correlate, output_size
from striate.textbook.graph import Node

_UNIT, _WHOLE = 20, 60
"""Sides of the maps of units and of the decision map."""
_LONGEST = 0.04
"""Seconds that updates may take before the next picture."""
Say = Callable[[bytes], Awaitable[None]]
Hear = Callable[[], Awaitable[str]]


async def play(hear: Hear, say: Say) -> None:
    """One page's playground. It says {"settings"}, {"play"}, {"step"}, {"weight"}, {"ready"}; each
    picture is sent when the page is ready for it, so that nothing piles up on either side."""
    game, speed, ready = Playground(), 0, asyncio.Event()
    lock = asyncio.Lock()
    gone = asyncio.Event()

    async def listen() -> None:
        nonlocal game, speed
        try:
            while True:
                said = json.loads(await hear())
                if not isinstance(said, dict):
                    continue
                async with lock:
                    game, speed = await asyncio.to_thread(_obey, game, speed, said, problems)
                ready.set()
        finally:
            gone.set()
            ready.set()

    problems: list[str] = []
    last: Playground | None = None
    listening = asyncio.create_task(listen())
    try:
        while not gone.is_set():
            await ready.wait()
            ready.clear()
            if gone.is_set():
                break
            began = time.perf_counter()
            async with lock:
                await asyncio.to_thread(_go_on, game, speed)
                picture = await asyncio.to_thread(
                    frame, game, problems, with_points=game is not last
                )
                last = game
                problems.clear()
            await say(picture)
            if speed:  # at most some 25 pictures a second
                await asyncio.sleep(max(0.0, 0.04 - (time.perf_counter() - began)))
    finally:
        listening.cancel()


def frame(game: Playground, problems: Sequence[str] = (), *, with_points: bool = True) -> bytes:
    """A picture of the whole: 4 bytes of length, a JSON head, maps as bytes.

    Maps are one byte a cell: 0 is −1 or below, 255 is 1 or above (of the output's tanh of half the
    logit, which is its probability between −1 and 1, or its height). First the decision map, then
    those of features, units and output.
    """
    losses = game.losses()
    heights = game.drawn.heights
    fine = _coarse(game.maps(_WHOLE)[-1][0], heights)
    small = game.maps(_UNIT)
    maps = [fine, *(_coarse(m, True) for layer in small for m in layer)]
    head = {
        "settings": asdict(game.settings), "step": game.step, "epoch": game.epoch,
        "per_epoch": game.per_epoch, "train": losses.train, "test": losses.test,
        "done": game.done, "failed": game.failed,
        "weights": [layer.weight.detach().numpy() for layer in game.linears()],
        "biases": [layer.bias.detach().numpy() for layer in game.linears()],
        "units": [len(layer) for layer in small], "side": _WHOLE, "small": _UNIT,
        "findings": [asdict(finding_row(f)) for f in game.findings],
        "problem": "\n".join(problems),
    }  # fmt: skip
    if with_points:
        head["points"] = {
            "train": np.column_stack(game.drawn.train).round(3),
            "test": np.column_stack(game.drawn.test).round(3), "heights": heights,
        }  # fmt: skip
    text = json.dumps(finite(head), separators=(",", ":")).encode()
    return struct.pack("<I", len(text)) + text + b"".join(m.tobytes() for m in maps)


def descend(asked: Mapping[str, Any]) -> Descent:
    """Paths of several rules side by side. Raises RecipeError."""
    on = str(asked.get("on", "ravine"))
    rules = [str(r) for r in asked.get("rules", ["momentum"])][:10]
    rate, momentum = float(asked.get("rate", 1e-3)), float(asked.get("momentum", 0.9))
    steps = int(asked.get("steps", 200))
    start = [float(v) for v in asked.get("start", [])][:2]
    place, best = descent.landscape(on), descent.best_rates(on)
    walks = []
    for rule in rules:
        path = descent.walk(on, rule, rate, momentum, steps, start if len(start) == 2 else ())
        walks.append(Walk(
            rule, _rounded(path.points[:, 0]), _rounded(path.points[:, 1]),
            finite(_rounded(path.values)), path.left, path.arrived,
        ))  # fmt: skip
    return Descent(
        about=place.about, box=list(place.box), heights=descent.heights(on).round(4).tolist(),
        walks=walks, curvatures=list(best.curvatures), best_rate=best.rate,
        best_momentum_rate=best.momentum_rate, best_momentum=best.momentum,
        start=list(place.start), lowest=list(descent.LOWEST[on]),
    )  # fmt: skip


def graph(asked: Mapping[str, Any]) -> Graph:
    """An expression as a graph with values and gradients. Raises TextbookError."""
    expression = str(asked.get("expression", ""))
    given = asked.get("values", {})
    if not isinstance(given, dict) or len(expression) > 400 or len(str(given)) > 4000:
        raise RecipeError("an expression has at most 400 characters, its values at most 4,000")
    values: dict[str, Any] = {
        str(k): parse_value(str(v), f"{k}={v}") for k, v in given.items() if str(k).isidentifier()
    }
    root = parse(expression, values)
    if not root.parents:
        raise RecipeError("the expression has no operation on a named value", "Such as x*2.")
    root.backward()
    order, names = root.order(), name_nodes(root)
    place = {node: i for i, node in enumerate(order)}
    depth: dict[Node, int] = {}
    for node in order:
        depth[node] = 1 + max((depth[p] for p in node.parents), default=-1)
    nodes = []
    for node in order:
        local = node.local_gradients(np.ones_like(node.value)) if node.parents else ()
        nodes.append(GraphNode(
            id=place[node], name=names[node], made=formula(node, names) if node.parents else "",
            value=shown(node.value), gradient="" if node.constant else shown(node.gradient),
            parents=[place[p] for p in node.parents], locals=[shown(v) for v in local],
            parts=[shown(v) for v in node.parts], depth=depth[node], constant=node.constant,
        ))  # fmt: skip
    variables = [n.name for n in order if not n.parents and not n.constant]
    return Graph(nodes, variables)


def convolution(asked: Mapping[str, Any]) -> Convolved:
    """A kernel over an image, with the textbook's correlation. Raises TextbookError."""
    image = _matrix(asked.get("image"), 64, "the image")
    kernel = _matrix(asked.get("kernel"), 9, "the kernel")
    stride, padding, dilation = (
        int(asked.get(k, d)) for k, d in (("stride", 1), ("padding", 0), ("dilation", 1))
    )
    if not 1 <= stride <= 8 or not 0 <= padding <= 8 or not 1 <= dilation <= 4:
        raise RecipeError("stride is from 1 to 8, padding from 0 to 8, dilation from 1 to 4")
    step = ((stride, stride), (padding, padding), (dilation, dilation))
    found = correlate(image[None, None], kernel[None, None], step)[0, 0]
    n, k = image.shape[0], kernel.shape[0]
    size = output_size(n, k, stride, padding, dilation)
    return Convolved(
        image=image.tolist(), padded=np.pad(image, padding).tolist(), kernel=kernel.tolist(),
        output=found.round(4).tolist(),
        formula=f"⌊({n} + 2·{padding} − {dilation}·({k} − 1) − 1) / {stride}⌋ + 1 = {size}",
        stride=stride, dilation=dilation, padding=padding,
    )  # fmt: skip


def _obey(
    game: Playground, speed: int, said: dict[str, Any], problems: list[str]
) -> tuple[Playground, int]:
    try:
        if "settings" in said:
            game = Playground(said["settings"])
        if "play" in said:
            speed = min(2000, max(0, int(said["play"])))
        if "step" in said:
            game.advance(min(1000, max(1, int(said["step"]))))
        if "lively" in said:
            game.change(**{str(k): float(v) for k, v in said["lively"].items()})
        if "weight" in said:
            layer, unit, source, value = said["weight"]
            game.set_weight(int(layer), int(unit), int(source), float(value))
    except StriateError as error:
        problems.append(str(error))
    except (TypeError, ValueError, KeyError):
        problems.append("the page asked for something that is not understood")
    return game, speed


def _go_on(game: Playground, speed: int) -> None:
    """As many updates as are wanted for a picture, as far as time allows."""
    last = time.perf_counter() + _LONGEST
    for _ in range(speed):
        if not game.advance(1) or time.perf_counter() > last:
            return


def _coarse(values: Any, plain: bool) -> Any:
    """Numbers as bytes, −1 … 1 on 0 … 255; of logits the probability is what counts."""
    scaled = values if plain else np.tanh(values / 2)
    found = np.nan_to_num(scaled, nan=0.0, posinf=1.0, neginf=-1.0)
    return (127.5 + 127.5 * np.clip(found, -1, 1)).astype(np.uint8)


def _matrix(given: Any, most: int, what: str) -> Any:
    try:
        found = np.array(given, dtype=np.float64)
    except (ValueError, TypeError):
        raise RecipeError(f"{what} is a square of numbers") from None
    square = len(found.shape) == 2 and found.shape[0] == found.shape[1]
    if not square or not 1 <= len(found) <= most or not np.isfinite(found).all():
        raise RecipeError(f"{what} is a square of at most {most} × {most} numbers")
    return found


def _rounded(values: Any) -> list[float]:
    return [float(f"{v:.5g}") for v in values]
