"""Figures of what was found inside a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from striate.explain.explanation import Explanation, Picture, Unit
from striate.report.pictures import (
    Cell,
    Figure,
    block,
    heat,
    overlaid,
    sheet,
    signed,
    tile,
    with_boxes,
)

_FILTERS, _SIDE, _WIDE, _LARGE = 96, 128, 180, 256
_HEADS = {
    "integrated_gradients": "integrated gradients", "guided_backpropagation": "guided backprop.",
    "grad_cam": "Grad-CAM",
}  # fmt: skip


def figures(found: Explanation) -> list[Figure]:
    """All that can be drawn, in the order of reading."""
    return [
        *_filters(found), *_maps(found), *_patches(found), *_maximised(found),
        *_attributions(found), *_errors(found), *_made(found), *_answering(found),
    ]  # fmt: skip


def _filters(found: Explanation) -> Iterator[Figure]:
    if found.filters is None:
        return
    shown = found.filters[:_FILTERS]
    tiles = [tile(signed(weights), 44) for weights in shown]
    count, side = len(found.filters), found.filters.shape[1]
    few = f" (the first {_FILTERS})" if count > _FILTERS else ""
    yield Figure(
        "filters",
        block(tiles, 16, 4),
        f"{count} filters of {side} × {side} pixels",
        f"The first layer's {count} filters{few}, each on its own scale: grey is 0.",
    )


def _maps(found: Explanation) -> Iterator[Figure]:
    for number, (picture, layers) in enumerate(found.maps, start=1):
        lines = _said(picture)[:1] if picture.predicted else ()
        rows = [("", [Cell(tile(picture.pixels, 96), lines)])]
        for maps in layers:
            tiles = [Cell(block([tile(heat(v), 46) for v in maps.values], 16))]
            shape = " × ".join(map(str, maps.values.shape[1:]))
            rows.append((f"{short(maps.layer)}: {shape}", tiles))
        yield Figure(
            f"maps-{number}",
            sheet(rows),
            f"maps of {len(layers)} layers for {brief(picture.name)}",
            f"What layers give for {brief(picture.name)}: of each the 16 channels that answer "
            "most, from dark (least) to bright, each on its own scale.",
        )


def _patches(found: Explanation) -> Iterator[Figure]:
    for layer in dict.fromkeys(unit.layer for unit in found.patches):
        units = [u for u in found.patches if u.layer == layer]
        cells = [_unit(u) for u in units]
        rows = [
            ("", [c for pair in cells[i : i + 2] for c in pair]) for i in range(0, len(cells), 2)
        ]
        heads = ("patches", "deconvolution", "guided") * min(2, len(units))
        yield Figure(
            f"patches-{short(layer)}",
            sheet(rows, heads),
            f"the strongest patches of {len(units)} units of {short(layer)}",
            f"{short(layer)}: for each unit the nine patches of {found.images:,} images of "
            f"{found.split} that excite it most, their projection back to pixels through a "
            "deconvolution network (Zeiler and Fergus), and guided backpropagation. Where the "
            "network has sums or branches the signal follows every path.",
        )


def _unit(unit: Unit) -> list[Cell]:
    blocks = [block([tile(p, 44) for p in unit.patches], 3)]
    blocks += [block([tile(signed(s), 44) for s in signals], 3) for signals in unit.back.values()]
    line = f"unit {unit.unit}: {unit.values[0]:.2g} to {unit.values[-1]:.2g}"
    return [Cell(b, (line,) if not i else ("",)) for i, b in enumerate(blocks)]


def _maximised(found: Explanation) -> Iterator[Figure]:
    if not found.maximised:
        return
    cells = [Cell(tile(image, 110), (name,)) for name, image in found.maximised]
    rows = [("", cells[i : i + 6]) for i in range(0, len(cells), 6)]
    yield Figure(
        "maximised",
        sheet(rows),
        f"images that the network answers strongly to, for {len(cells)} classes",
        "Images made so that the network is as sure as can be of a class. They show what it can "
        "answer to, not what it answers to in the data.",
    )


def _attributions(found: Explanation) -> Iterator[Figure]:
    if not found.attributions:
        return
    names = list(found.attributions[0][1])
    rows = []
    for picture, maps in found.attributions:
        cells = [Cell(tile(picture.pixels, _SIDE))]
        cells += [Cell(tile(overlaid(picture.pixels, maps[name]), _SIDE)) for name in names]
        rows.append((" · ".join(_said(picture)), cells))
    yield Figure(
        "attributions",
        sheet(rows, ("image", *(_HEADS.get(name, name) for name in names))),
        f"where {len(rows)} images speak for the class that was named, by {len(names)} methods",
        "Bright: pixels that speak for the class that was named. Methods disagree, and not all can "
        "be trusted: see the page of `striate explain`.",
    )


def _errors(found: Explanation) -> Iterator[Figure]:
    if not found.errors:
        return
    rows = []
    for picture, near in found.errors:
        cells = [Cell(tile(picture.pixels, 110))]
        cells += [
            Cell(tile(n.picture.pixels, 110), (n.picture.true, f"{n.likeness:.2f}")) for n in near
        ]
        rows.append((" · ".join(_said(picture)), cells))
    yield Figure(
        "errors",
        sheet(rows),
        f"{len(rows)} errors and the training images that are most like them",
        f"The surest errors in {found.images:,} images of {found.split}, and the training images "
        "nearest to each in the features of the last layer (their cosine). Neighbours of the class "
        "that was named: the image looks like it, or its label is wrong.",
    )


def _made(found: Explanation) -> Iterator[Figure]:
    if not found.boxes:
        return
    names = list(dict.fromkeys(name for one in found.boxes for name in one.speaking))
    rows = []
    for one in found.boxes:
        pixels, scale = one.picture.pixels, _WIDE / one.picture.pixels.shape[1]
        box = _scaled(one.box, scale)
        cells = [Cell(with_boxes(tile(pixels, _WIDE), [(box, "", "hit")]))]
        for name in names:
            lit = tile(overlaid(pixels, one.speaking[name]), _WIDE)
            cells.append(Cell(with_boxes(lit, [(box, "", "hit")])))
        rows.append((f"{one.text} · {brief(one.picture.name)}", cells))
    yield Figure(
        "boxes",
        sheet(rows, ("box", *names)),
        f"what speaks for {len(rows)} boxes",
        "Bright: places that speak for the box, in the maps of each stride (Grad-CAM, place by "
        "place) and in the pixels themselves (the gradient of its score).",
    )


def _answering(found: Explanation) -> Iterator[Figure]:
    if not found.answering:
        return
    cells = []
    for one in found.answering:
        scale = _LARGE / one.picture.pixels.shape[1]
        counts = [int((one.which == i).sum()) for i in range(len(one.classes))]
        boxes = [(_scaled(box, scale), "", "hit") for box in one.boxes]
        boxes += [
            (_scaled(box, scale), f"{name}: {count}", "truth")
            for box, name, count in zip(one.objects, one.classes, counts, strict=True)
        ]
        drawn = with_boxes(tile(one.picture.pixels, _LARGE), boxes)
        cells.append(Cell(drawn, (brief(one.picture.name),)))
    yield Figure(
        "answering",
        sheet([("", cells[i : i + 3]) for i in range(0, len(cells), 3)]),
        f"what answers for the objects of {len(cells)} images",
        "Green: objects, with the number of cells, anchors or regions (blue) that answer for each "
        "as training assigns them. An object without any cannot be learnt.",
    )


def _scaled(box: Sequence[float], scale: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(side) * scale for side in box)
    return left, top, right, bottom


def _said(picture: Picture) -> tuple[str, ...]:
    answer = f"{picture.predicted} {picture.probability:.2f}"
    if not picture.true:
        return (answer, brief(picture.name))
    right = picture.true == picture.predicted
    said = f"{answer}, right" if right else f"{answer}, true: {picture.true}"
    return (said, brief(picture.name))


def brief(name: str, most: int = 0) -> str:
    """The file and its folder; an archive and folders above are left out. Of long ones the end."""
    short = "/".join(name.rpartition("#")[2].split("/")[-2:])
    return f"…{short[1 - most :]}" if most and len(short) > most else short


def short(layer: str) -> str:
    """The name as `striate layers` prints it."""
    return layer.removeprefix("backbone.")
