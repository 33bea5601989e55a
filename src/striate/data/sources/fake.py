"""A data set that is invented on the fly, to test a pipeline at any size (D8)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Pixels
from striate.core.errors import DataError
from striate.data.decode import Header
from striate.data.images import Examined, Indices, content_hash
from striate.data.sources.listing import WHOLE, Listing, Part
from striate.data.targets import Labels

_FORM = re.compile(r"fake:(\d+)x(\d+)x(\d+)x(\d+)x(\d+)")
_MOST = 10**8


@dataclass(frozen=True)
class FakeImages:
    """Noise over a brightness that tells the class; image i is a function of i alone.

    shape: (channels, height, width). A network that cannot learn these has a broken pipeline.
    """

    count: int
    shape: tuple[int, int, int]
    classes: int
    chosen: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return self.count if self.chosen is None else len(self.chosen)

    def name(self, index: int) -> str:
        return f"fake[{self._at(index)}]"

    def key(self, index: int) -> str:
        return str(self._at(index))

    def raw(self, index: int) -> bytes:
        return self.pixels(index, math.inf).tobytes()

    def header(self, index: int, max_megapixels: float) -> Header:
        channels, height, width = self.shape
        return Header(width, height, channels, "array")

    def pixels(self, index: int, max_megapixels: float, wanted: int = 0) -> Pixels:
        number = self._at(index)
        channels, height, width = self.shape
        rng = np.random.Generator(np.random.Philox(key=number))
        level = 255 * (number % self.classes + 0.5) / self.classes
        noise = rng.integers(-32, 33, (height, width, channels), dtype=np.int16)
        pixels: Pixels = (noise + round(level)).clip(0, 255).astype(np.uint8)
        return pixels

    def examine(self, index: int, max_megapixels: float, wanted: int = 0) -> Examined:
        pixels = self.pixels(index, max_megapixels)
        return Examined(content_hash(pixels.tobytes()), self.header(index, 0), pixels)

    def take(self, indices: Indices) -> FakeImages:
        wanted = np.asarray(indices, dtype=np.int64)
        chosen = wanted if self.chosen is None else self.chosen[wanted]
        return FakeImages(self.count, self.shape, self.classes, chosen)

    def _at(self, index: int) -> int:
        return index if self.chosen is None else int(self.chosen[index])


def open_fake(text: str) -> Listing:
    """`fake:IMAGESxCHANNELSxHEIGHTxWIDTHxCLASSES`, such as fake:1000x3x224x224x10."""
    match = _FORM.fullmatch(text)
    numbers = [int(group) for group in match.groups()] if match else [0]
    if not match or min(numbers) < 1 or numbers[1] not in (1, 3) or max(numbers) > _MOST:
        raise DataError(
            f"'{text}' is no invented data set",
            "Expected fake:IMAGESxCHANNELSxHEIGHTxWIDTHxCLASSES with 1 or 3 channels, such as "
            "fake:1000x3x224x224x10.",
        )
    count, channels, height, width, classes = numbers
    images = FakeImages(count, (channels, height, width), classes)
    names = tuple(str(i) for i in range(classes))
    return Listing(text, {WHOLE: Part(images, names, Labels(np.arange(count) % classes))})
