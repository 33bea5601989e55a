"""E2: the arithmetic of sliding windows."""

from __future__ import annotations

from striate.labs.lab import Lab, Trial

_SIDE, _IMAGES, _WINDOW_SECONDS = 500, 10_000, 0.001
_YEAR = 365 * 24 * 3600


def _windows(side: int, scales: int, aspects: int, step: int) -> int:
    """Places of windows that grow by 2^(1/2) from 32 pixels on, in steps of some pixels."""
    total = 0
    for scale in range(scales):
        size = 32 * 2 ** (scale / 2)
        for aspect in range(aspects):
            ratio = 2 ** (aspect - aspects // 2)
            wide, high = int(size * ratio**0.5), int(size / ratio**0.5)
            if wide <= side and high <= side:
                total += ((side - wide) // step + 1) * ((side - high) // step + 1)
    return total


def measure(_: int, __: bool) -> Trial:
    every, coarse = _windows(_SIDE, 8, 3, 1), _windows(_SIDE, 8, 3, 8)
    rcnn, search = 47.0, 2.0
    return Trial(
        {
            "windows of an image, every pixel": every,
            "windows of an image, every 8th pixel": coarse,
            "years for 10,000 images, every pixel": every * _WINDOW_SECONDS * _IMAGES / _YEAR,
            "days for 10,000 images, every 8th pixel": coarse * _WINDOW_SECONDS * _IMAGES / 86_400,
            "days for 10,000 images, 2,000 proposals": 2000 * _WINDOW_SECONDS * _IMAGES / 86_400,
            "R-CNN: seconds an image": rcnn + search,
            "what 47 s are of 2,000 crops, ms each": 1000 * rcnn / 2000,
        }
    )


LAB = Lab(
    "E2", "windows",
    "Sliding windows over place, scale and shape at 1 ms each take months for a data set; Fast "
    "R-CNN takes 47 + 2 s an image.",
    "Windows of 8 sizes and 3 shapes on images of 500×500 are counted; the seconds of R-CNN "
    "and Fast R-CNN are those of their papers (Girshick et al. 2014, Girshick 2015). "
    "`striate ladder` measures the detectors themselves.",
    measure,
    {
        "wrong": lambda f: f["years for 10,000 images, every pixel"] > 0.5
        and f["days for 10,000 images, every 8th pixel"] < 30
        and f["days for 10,000 images, 2,000 proposals"] < 1
        and 20 < f["what 47 s are of 2,000 crops, ms each"] < 30
    },
    "years for 10,000 images, every pixel",
    "Ten thousand images take a year with windows at every pixel, and six days at every eighth: "
    "months lie between, so that sum is fair. The 47 s are R-CNN's: its network on each of 2,000 "
    "crops. Fast R-CNN runs the network once and needs a fraction of a second beyond the 2 s that "
    "find the proposals.",
    "wrong",
    deck="Fast R-CNN: 47 + 2 s", truth="R-CNN: 47 + 2 s; Fast R-CNN: 2 s and a fraction", seeds=1,
)  # fmt: skip
