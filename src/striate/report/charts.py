"""Curves as SVG, drawn to be read: few lines, direct labels, colours that the colour-blind see.

Each chart carries its points (`data-lines`), so that a few lines of script can show values under
the pointer; without script it is a still picture. Every curve also stands in a table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from striate.core.strict_json import one_line

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#aa4488", "#806000", "#3a6fd8")
"""After Okabe and Ito (2008), dark enough to be read on white."""
_WIDE, _HIGH = 480, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 14, 44


@dataclass(frozen=True)
class Line:
    """A curve; None and NaN leave gaps. `quiet` lines are grey and have no place in the legend."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    quiet: bool = False
    dots: bool = False


def line_chart(
    lines: Sequence[Line], title: str, x_label: str, y_label: str,
    *, x_range: tuple[float, float] | None = None, y_range: tuple[float, float] | None = None,
) -> Markup:  # fmt: skip
    """An SVG with axes, legend and what a screen reader says of it."""
    points = [(x, y) for line in lines for x, y in zip(line.xs, line.ys, strict=True) if _known(y)]
    if not points:
        return Markup("<p>Nothing was recorded.</p>")
    across = x_range or _range([x for x, _ in points])
    low, high = y_range or _range([float(y) for _, y in points if y is not None])
    room = 0.0 if y_range else 0.05 * (high - low)
    up = (low - room, high + room)
    frame = _Frame(across, up, counted(lines))
    loud = [line for line in lines if not line.quiet]
    parts = [frame.axes(x_label, y_label)]
    parts += [frame.curve(line, "#b8b8b8") for line in lines if line.quiet]
    parts += [frame.curve(line, COLOURS[i % len(COLOURS)]) for i, line in enumerate(loud)]
    legend = Markup("").join(
        Markup('<span class="key"><i style="background:{}"></i>{}</span>').format(
            COLOURS[i % len(COLOURS)], line.label
        )
        for i, line in enumerate(loud)
    )
    data = one_line({
        "frame": [*across, *up, _LEFT, _WIDE - _RIGHT, _TOP, _HIGH - _BOTTOM],
        "x": x_label,
        "lines": [
            {"label": line.label, "x": [_short(x) for x in line.xs],
             "y": [_short(y) if _known(y) else None for y in line.ys]}
            for line in loud
        ],
    })  # fmt: skip
    svg = Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}" data-lines="{}">{}'
        '<line class="cursor" y1="{}" y2="{}" visibility="hidden"/></svg>'
    ).format(_WIDE, _HIGH, title, data, Markup("").join(parts), _TOP, _HIGH - _BOTTOM)
    return Markup(
        '<figure class="chart"><figcaption>{}</figcaption><div class="legend">{}</div>{}'
        '<output class="values" aria-live="off">&nbsp;</output></figure>'
    ).format(title, legend, svg)


@dataclass(frozen=True)
class _Frame:
    across: tuple[float, float]
    up: tuple[float, float]
    counted: bool

    def x(self, value: float) -> float:
        low, high = self.across
        return _LEFT + (value - low) / (high - low) * (_WIDE - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.up
        return _HIGH - _BOTTOM - (value - low) / (high - low) * (_HIGH - _TOP - _BOTTOM)

    def axes(self, x_label: str, y_label: str) -> Markup:
        parts = []
        for value in ticks(*self.up):
            parts.append(
                Markup('<line class="grid" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>').format(
                    _LEFT, _WIDE - _RIGHT, y=self.y(value)
                )
            )
            parts.append(_text(_LEFT - 6, self.y(value) + 4, f"{value:g}", "end"))
        for value in ticks(*self.across, counted=self.counted):
            parts.append(_text(self.x(value), _HIGH - _BOTTOM + 17, f"{value:g}", "middle"))
        parts.append(
            Markup('<line class="axis" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
                _LEFT, _WIDE - _RIGHT, y=_HIGH - _BOTTOM
            )
        )
        parts.append(_text((_LEFT + _WIDE - _RIGHT) / 2, _HIGH - 8, x_label, "middle"))
        turn = Markup(
            '<text transform="translate(14,{}) rotate(-90)" text-anchor="middle">{}</text>'
        )
        parts.append(turn.format((_TOP + _HIGH - _BOTTOM) / 2, y_label))
        return Markup("").join(parts)

    def curve(self, line: Line, colour: str) -> Markup:
        pieces, fresh = [], True
        places = []
        for x, y in zip(line.xs, line.ys, strict=True):
            if y is None or not _known(y):
                fresh = True
                continue
            low, high = self.up
            at = (self.x(x), self.y(min(max(y, low), high)))
            pieces.append(f"{'M' if fresh else 'L'}{at[0]:.1f},{at[1]:.1f}")
            places.append(at)
            fresh = False
        drawn = Markup('<path class="{}" d="{}" stroke="{}"/>').format(
            "quiet" if line.quiet else "curve", "".join(pieces), colour
        )
        few = line.dots or len(places) < 30
        dots = [
            Markup('<circle cx="{:.1f}" cy="{:.1f}" r="2.6" fill="{}"/>').format(x, y, colour)
            for x, y in (places if few and not line.quiet else [])
        ]
        return Markup("").join([drawn, *dots])


def counted(lines: Sequence[Line]) -> bool:
    """Whether the horizontal axis counts something (epochs, layers): it has whole numbers only."""
    return all(float(x).is_integer() for line in lines for x in line.xs)


def ticks(low: float, high: float, about: int = 5, *, counted: bool = False) -> list[float]:
    """About so many round numbers from low to high. counted: whole ones."""
    rough = (high - low) / about
    if counted and rough < 5:
        every = next(m for m in (1, 2, 5) if m >= rough * 0.999)
        return [float(n) for n in range(math.ceil(low), math.floor(high) + 1) if n % every == 0]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.10g}") for i in range(first, last + 1)]


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        return low - 0.5, high + 0.5
    return low, high


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    shape = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    return shape.format(x, y, anchor, escape(text))
