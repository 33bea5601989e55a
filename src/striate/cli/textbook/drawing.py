"""SVG pictures of the textbook: computation graphs, and paths over a landscape."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from striate.labs.naming import edges_into, formula, shown
from striate.textbook.graph import Node
from striate.textbook.landscapes import Landscape

_FORWARD, _BACKWARD, _INK = "#15803d", "#b91c1c", "#1f2937"
_WIRES = (_FORWARD, _BACKWARD)
_BANDS = 14


def graph_svg(root: Node, names: dict[Node, str], title: str) -> str:
    """Left to right: values green on the wires, gradients red below (L2)."""
    places = _places(root)
    wide, high = 250, 112
    columns, rows = max(x for x, _ in places.values()), max(y for _, y in places.values())
    spot = {n: (70 + x * wide, 100 + y * high) for n, (x, y) in places.items()}
    lines, parts = [], []
    for node in root.order():
        x, y = spot[node]
        shares = iter(edges_into(node))
        for use, parent in enumerate(node.parents):
            px, py = spot[parent]
            bend = _bend(node, parent, use, places) * high
            lines.append(_wire(px + 30, py, x - 30, y, bend))
            share = "" if parent.constant else "{3} = {1} · {2}".format(*next(shares))
            at = x - 0.56 * wide  # in the last gap, where a long wire is alone
            below = y + (py - y) * (x - at) / (x - px) + 0.9 * bend
            parts.append(_text(at, below - 7, shown(parent.value), _FORWARD))
            parts.append(_text(at, below + 16, share, _BACKWARD))
        parts.append(_node(x, y, node, names[node], formula(node, names)))
        if not node.parents and not node.constant:
            parts.append(_text(x, y + 34, f"gradient {shown(node.gradient)}", _BACKWARD, size=11))
    x, y = spot[root]
    parts += [_line(x + 30, y, x + 120, y), _text(x + 78, y - 7, shown(root.value), _FORWARD)]
    parts.append(_text(x + 78, y + 16, shown(root.gradient), _BACKWARD))
    parts.append(_text(20, 24, title, _INK, anchor="start", size=16))
    key = "values forward (green), gradients back (red) = upstream · local"
    parts.append(_text(20, 44, key, "#6b7280", anchor="start", size=12))
    return _svg(max(columns * wide + 210, 460), rows * high + 200, lines + parts)


def _places(root: Node) -> dict[Node, tuple[float, float]]:
    """(column, row) of each node: results right of their inputs, at their inputs' mean height."""
    order = root.order()
    depth: dict[Node, int] = {}
    for node in order:
        depth[node] = 1 + max((depth[p] for p in node.parents), default=-1)
    for node in reversed(order):  # inputs stand close to where they are used
        users = [depth[n] for n in order if node in n.parents]
        if not node.parents and users:
            depth[node] = min(users) - 1
    height: dict[Node, float] = {}
    taken: dict[int, list[float]] = {}
    leaves = 0
    for node in order:
        if node.parents:
            wanted = float(np.mean([height[p] for p in node.parents]))
        else:
            wanted, leaves = float(leaves), leaves + 1
        while any(abs(wanted - other) < 0.9 for other in taken.get(depth[node], [])):
            wanted += 0.5
        height[node] = wanted
        taken.setdefault(depth[node], []).append(wanted)
    return {node: (depth[node], height[node]) for node in order}


def _node(x: float, y: float, node: Node, name: str, made: str) -> str:
    if not node.parents:
        colour = "#f3f4f6" if node.constant else "#dbeafe"
        box = f'<rect x="{x - 30:.0f}" y="{y - 17:.0f}" width="60" height="34" rx="6" '
        return f'{box}fill="{colour}" stroke="{_INK}"/>' + _text(x, y + 5, name, _INK, size=15)
    circle = f'<circle cx="{x:.0f}" cy="{y:.0f}" r="30" fill="#fef9c3" stroke="{_INK}"/>'
    symbol = {"*": "×", "neg": "−", "-": "−", "/": "÷"}.get(node.operation, node.operation)
    return (
        circle
        + _text(x, y + 6, symbol, _INK, size=18 if len(symbol) < 4 else 12)
        + _text(x, y + 46, f"{name} = {made}", "#6b7280", size=11)
    )


def path_svg(on: Landscape, path: NDArray[Any], title: str) -> str:
    """The path over the landscape: start ○, end ●, darker is lower; the goal line is dashed."""
    wide, high, top = 640, 480, 50
    left, right, low, up = on.box
    xs, ys = np.linspace(left, right, wide // 4 + 1), np.linspace(low, up, high // 4 + 1)
    middle = (xs[:-1] + xs[1:]) / 2, (ys[:-1] + ys[1:]) / 2
    values = on.f(np.stack(np.meshgrid(*middle)))
    level = np.log1p(99 * (values - on.lowest) / (values.max() - on.lowest)) / np.log(100)
    bands = np.minimum((level * _BANDS).astype(int), _BANDS - 1)
    parts = [_band_row(row, top + high - 4 * (i + 1)) for i, row in enumerate(bands)]
    inside = np.clip(path, [left - 9, low - 9], [right + 9, up + 9])  # far points stay drawable
    x = (inside[:, 0] - left) / (right - left) * wide
    y = top + high - (inside[:, 1] - low) / (up - low) * high
    dots = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    clip = f'<clipPath id="map"><rect x="0" y="{top}" width="{wide}" height="{high}"/></clipPath>'
    parts.append(f'{clip}<g clip-path="url(#map)"><polyline points="{dots}" fill="none" '
                 'stroke="#dc2626" stroke-width="1.6"/>')  # fmt: skip
    parts += [
        f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2" fill="#dc2626"/>'
        for a, b in zip(x[:400], y[:400], strict=True)
    ]
    ends = ((x[0], y[0], "white"), (x[-1], y[-1], "#dc2626"))
    parts += [
        f'<circle cx="{a:.1f}" cy="{b:.1f}" r="5.5" fill="{fill}" stroke="#7f1d1d"/>'
        for a, b, fill in ends
    ]
    parts.append("</g>")
    parts.append(_text(12, 22, title, _INK, anchor="start", size=15))
    parts.append(_text(12, 41, on.about, "#4b5563", anchor="start", size=12))
    edges = ((4, f"{left:g}", "start"), (wide - 4, f"{right:g}", "end"))
    parts += [_text(a, top + high + 15, t, "#4b5563", anchor=side, size=11) for a, t, side in edges]
    return _svg(wide, high + top + 22, parts)


def _band_row(row: NDArray[np.int_], y: float) -> str:
    """One row of cells; equal neighbours are one rectangle."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(row)) + 1, [len(row)]])
    return "".join(
        f'<rect x="{4 * a}" y="{y}" width="{4 * (b - a)}" height="4" fill="{_shade(row[a])}"/>'
        for a, b in pairwise(starts)
    )


def _shade(band: int) -> str:
    """Dark blue at the bottom, nearly white at the top."""
    share = band / (_BANDS - 1)
    dark, light = (23, 58, 110), (239, 246, 255)
    return "#" + "".join(
        f"{round(d + share * (h - d)):02x}" for d, h in zip(dark, light, strict=True)
    )


def _bend(node: Node, parent: Node, use: int, places: dict[Node, tuple[float, float]]) -> float:
    """How far a wire sags, in rows: apart from its twin, and below the nodes that it passes."""
    (column, row), (before, height) = places[node], places[parent]
    twin = 0.55 * (use - 0.5) if node.parents.count(parent) > 1 else 0.0
    slope = (row - height) / (column - before)
    between = [(c, r) for c, r in places.values() if before < c < column]
    passes = any(abs(r - height - slope * (c - before)) < 0.45 for c, r in between)
    return twin + (0.62 if passes else 0.0)


def _wire(x1: float, y1: float, x2: float, y2: float, bend: float) -> str:
    """A curve that sags by about `bend` pixels in its middle."""
    xs = (2 * x1 + x2) / 3, (x1 + 2 * x2) / 3
    ys = ((2 * y1 + y2) / 3 + 1.3 * bend, (y1 + 2 * y2) / 3 + 1.3 * bend)
    points = zip((x1, xs[0], xs[1], x2), (y1, ys[0], ys[1], y2), strict=True)
    start, *others = (f"{x:.0f} {y:.0f}" for x, y in points)
    path = f"M{start} C{' '.join(others)}"
    return f'<path d="{path}" fill="none" stroke="#9ca3af" stroke-width="1.5"/>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    ends = f'x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}"'
    return f'<line {ends} stroke="#9ca3af" stroke-width="1.5"/>'


def _text(
    x: float, y: float, text: str, colour: str, *, anchor: str = "middle", size: int = 13
) -> str:
    style = f'fill="{colour}" font-size="{size}" text-anchor="{anchor}"'
    halo = ' stroke="white" stroke-width="4" paint-order="stroke"' * (colour in _WIRES)
    return f'<text x="{x:.0f}" y="{y:.0f}" {style}{halo}>{escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
    body = "\n".join(parts)
    return (
        f'{head}width="{width:.0f}" height="{height:.0f}" font-family="sans-serif">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )
