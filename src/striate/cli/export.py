"""`striate export RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from striate.cli.flags import parse
from striate.core.strict_json import one_line
from striate.core.words import megabytes

if TYPE_CHECKING:
    from striate.api.exporting import Exported


def export(argv: Sequence[str]) -> int:
    """Write a run's network into a file."""
    return int(parse(_export, "export", argv))


def _export(
    run: Annotated[Path, tyro.conf.Positional],
    to: Literal["onnx", "torch", "openvino"] = "onnx",
    out: Path | None = None,
    half: bool = False,
    int8: bool = False,
    images: int = 1000,
    moved: str | None = None,
    json: bool = False,
) -> int:
    """Write a run's best network into one file that needs neither Striate nor the run.

    The file takes uint8 images as they were decoded and resized: the preparation of the input, the
    temperature and the names of the classes are inside. Before it gets its name it is compared with
    the network on validation images.

    Args:
        run: the run directory
        to: onnx, torch (a torch.export program) or openvino
        out: the file to write (default: RUN/export/NAME with the form's ending)
        half: numbers of 16 bits, in half the space (ONNX)
        int8: products in 8-bit integers, with scales from training images (ONNX)
        images: validation images on which file and network are compared
        moved: where the data of the run are now, if they were moved since it was trained
        json: print one JSON object as the last line
    """
    from striate.api.exporting import export_run

    found = export_run(run, to, out, half=half, int8=int8, images=images, data=moved)
    for line in lines_of(found):
        print(line)
    if json:
        print(one_line(found.to_json()))
    return 0


def lines_of(found: Exported) -> list[str]:
    """What was written, whether it agrees, how large and how quick it is."""
    weights, size = found.sizes
    same, about = found.agreement, found.about
    apart = ", ".join(f"{name} by {value:.1g}" for name, value in same.differences.items())
    who = "the same answers" if not same.others else f"{same.others} other answers"
    shape = about["input"]
    return [
        f"{found.path}: {megabytes(size)} (the network's weights: {megabytes(weights)}), "
        f"{about['numbers']}",
        f"  takes uint8 images (N, {shape['size']}, {shape['size']}, {shape['channels']}) and "
        f"gives {' and '.join(about['outputs'])}",
        f"  {who} on {same.images:,} validation images; at most apart: {apart}",
        f"  {_scores(found)}",
        *(
            f"  {'one image' if count == 1 else f'{count} images'}: {1000 * file:.1f} ms, the "
            f"network in torch {1000 * network:.1f} ms"
            for count, (network, file) in found.seconds.items()
        ),
    ]


def _scores(found: Exported) -> str:
    compared = found.compared
    text = f"{compared.score} {compared.ours:.4f}, the network's {compared.theirs:.4f}"
    if not compared.difference:
        return text
    text = f"{text}: {compared}"
    return f"WORSE: {text}" if found.worse else text
