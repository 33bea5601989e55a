"""Many short texts in two flat arrays.

A Python list of a million paths is a million objects: slow to open, copied page by page into every
forked process as its reference counts change, and impossible to map from a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


class Strings(Sequence[str]):
    """A read-only sequence of texts: UTF-8 bytes uint8 (B,) and where each ends, int64 (N,)."""

    def __init__(
        self,
        text: NDArray[np.uint8],
        ends: NDArray[np.int64],
        chosen: NDArray[np.int64] | None = None,
    ) -> None:
        self.text, self.ends, self.chosen = text, ends, chosen

    @classmethod
    def of(cls, texts: Iterable[str]) -> Strings:
        """Lone surrogates (names that are not UTF-8) survive the round trip."""
        pieces = [text.encode("utf-8", "surrogatepass") for text in texts]
        ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        return cls(np.frombuffer(b"".join(pieces), np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends) if self.chosen is None else len(self.chosen)

    def __getitem__(self, index: int) -> str:  # type: ignore[override]  # no slices: use take
        at = range(len(self))[index]
        at = at if self.chosen is None else int(self.chosen[at])
        start = int(self.ends[at - 1]) if at else 0
        return self.text[start : int(self.ends[at])].tobytes().decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # equal by content, and too long to hash

    def take(self, indices: Sequence[int] | NDArray[np.integer]) -> Strings:
        """These texts only; nothing is copied."""
        wanted = np.asarray(indices, dtype=np.int64)
        return Strings(self.text, self.ends, wanted if self.chosen is None else self.chosen[wanted])
