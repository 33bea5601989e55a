"""A map of images: a page to move about in, and a picture to print."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from striate.atlas.points import MapPoints
from striate.report.page import render

COLOURS = (
    "#332288", "#88ccee", "#117733", "#ddaa33", "#cc6677", "#aa4499", "#44aa99", "#882255",
    "#999933", "#ee7733",
)  # fmt: skip
"""After Tol (2021): told apart by the colour-blind; classes have their names beside them too."""
OTHERS = "#b5b5b5"
_MEANT = {"right": "#9fb6cc", "wrong": "#c63d0f", "unknown class": "#8a8a8a"}
_MOST_KINDS = 1000
_ACROSS, _TILE = 40, 28
"""Thumbnails stand in sheets of 40 × 40, which a browser opens only when it shows one of them."""


def map_html(points: MapPoints, *, title: str, notes: Sequence[str], version: str) -> str:
    """The page, with all points and thumbnails inside."""
    scaled = _unit_square(points.places)
    order = {int(i): k for k, i in enumerate(points.shown)}
    columns = [_coded(name, values) for name, values in points.columns.items()]
    data = {
        "n": len(points.places),
        "places": _packed(np.round(scaled * 65535).astype("<u2")),
        "thumbs": _packed(np.array([order.get(i, -1) for i in range(len(scaled))], dtype="<i4")),
        "names": list(points.names),
        "columns": columns,
        "across": _ACROSS,
        "tile": _TILE,
    }
    return render(
        "map.html.j2", title=title, notes=notes, version=version, count=len(scaled),
        columns=[c["name"] for c in columns], data=data, sheets=list(_sheets(points.thumbnails)),
    )  # fmt: skip


def _unit_square(places: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Into 0 to 1 with the sides' proportion kept, and upwards as on paper."""
    low, high = places.min(axis=0), places.max(axis=0)
    side = float((high - low).max()) or 1.0
    found = (places - (low + high) / 2) / side + 0.5
    found[:, 1] = 1 - found[:, 1]
    return found


def _coded(name: str, values: list[str]) -> dict[str, Any]:
    """Kinds by number of images, the commonest first, and the number of each image's kind."""
    common = {kind for kind, _ in Counter(values).most_common(_MOST_KINDS)}
    told = [kind if kind in common else "(others)" for kind in values]
    kinds, codes, counts = np.unique(np.array(told), return_inverse=True, return_counts=True)
    order = _order(kinds, counts)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return {
        "name": name,
        "kinds": [str(kinds[i]) for i in order],
        "counts": [int(counts[i]) for i in order],
        "codes": _packed(place[codes].astype("<u2")),
        "colours": [_colour(k, str(kinds[i])) for k, i in enumerate(order)],
    }


def _order(kinds: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.int64]:
    """The order of the kinds: a few by name, many by how many images they have."""
    if len(kinds) <= len(COLOURS):
        return np.arange(len(kinds))
    return np.argsort(-counts, kind="stable")


def _colour(k: int, kind: str) -> str:
    if kind in _MEANT:
        return _MEANT[kind]
    return COLOURS[k] if k < len(COLOURS) else OTHERS


def _packed(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _sheets(thumbnails: NDArray[np.uint8]) -> Any:
    """WebP data URIs of sheets of thumbnails."""
    for start in range(0, len(thumbnails), _ACROSS**2):
        part = thumbnails[start : start + _ACROSS**2]
        rows = -(-len(part) // _ACROSS)
        sheet = np.full((rows * _TILE, _ACROSS * _TILE, 3), 255, dtype=np.uint8)
        for k, pixels in enumerate(part):
            top, left = k // _ACROSS * _TILE, k % _ACROSS * _TILE
            sheet[top : top + _TILE, left : left + _TILE] = _thumbnail(pixels)
        buffer = io.BytesIO()
        grey = thumbnails.shape[3] == 1
        image = Image.fromarray(sheet[..., 0] if grey else sheet)
        image.convert("RGB").save(buffer, "WEBP", quality=50, method=2)
        yield "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.shape[:2] != (_TILE, _TILE):
        flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        how = Image.Resampling.BOX if len(pixels) > _TILE else Image.Resampling.NEAREST
        resized = np.asarray(Image.fromarray(flat).resize((_TILE, _TILE), how))
        pixels = resized[..., None] if len(resized.shape) == 2 else resized
    return np.broadcast_to(pixels, (_TILE, _TILE, 3))


def map_pictures(points: MapPoints, title: str) -> tuple[bytes, bytes]:
    """(PNG, SVG) of the map in the colours of its first column, names beside the clusters."""
    from matplotlib.figure import Figure

    name, values = next(iter(points.columns.items()))
    found = _coded(name, values)
    codes = np.frombuffer(base64.b64decode(found["codes"]), dtype="<u2")
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots()
    size = float(np.clip(30_000 / len(codes), 1.0, 30.0))
    for k in np.argsort(-np.array(found["counts"]), kind="stable").tolist():  # the rare on top
        here = points.places[codes == k]
        axes.scatter(
            here[:, 0], here[:, 1], s=size, color=found["colours"][k], linewidths=0, alpha=0.6,
            rasterized=True,
        )  # fmt: skip
    for k in range(min(len(found["kinds"]), len(COLOURS))):
        here = points.places[codes == k]
        axes.annotate(
            _shown(found["kinds"][k]), _middle(here), ha="center", va="center", fontsize=10,
            bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": found["colours"][k]},
            parse_math=False,
        )  # fmt: skip
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal")
    for side in axes.spines.values():
        side.set_visible(False)
    made = []
    for kind in ("png", "svg"):
        buffer = io.BytesIO()
        figure.savefig(
            buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else {}
        )
        made.append(buffer.getvalue())
    return made[0], made[1]


def _shown(text: str) -> str:
    return text if len(text) <= 24 else text[:23] + "…"


def _middle(places: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """The point of a cluster that is nearest to its median, so that the name stands on it."""
    median = np.median(places, axis=0)
    nearest = places[np.argmin(((places - median) ** 2).sum(axis=1))]
    return float(nearest[0]), float(nearest[1])


def map_csv(points: MapPoints) -> str:
    """x, y, image and the columns, one row an image."""
    import csv

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["x", "y", "image", *points.columns])
    rows = zip(points.places, points.names, *points.columns.values(), strict=True)
    for place, name, *known in rows:
        writer.writerow([f"{place[0]:.4f}", f"{place[1]:.4f}", name, *known])
    return buffer.getvalue()
