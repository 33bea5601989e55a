"""What a service does with the bytes of an image: decode, batch, answer; and what it refuses."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from striate.api.exporting import open_export
from striate.api.runs import Run
from striate.core.arrays import Pixels
from striate.core.errors import RunError
from striate.core.runtime import usable_cores
from striate.core.sharing import be_modest
from striate.data.decode import Unified, examine
from striate.data.loader import ArrayStore
from striate.plan.predictor import Predictor
from striate.serve.batching import Batcher


@dataclass(frozen=True)
class Bounds:
    """What a service takes. body: bytes of a request; images: of a request; waiting: images that
    are decoded, wait or are computed, of all callers; seconds: for a request; batch: images that go
    through the network together; wait: seconds in which these gather."""

    body: int = 20_000_000
    images: int = 64
    waiting: int = 256
    seconds: float = 10.0
    batch: int = 32
    wait: float = 0.002


class _Decoded(NamedTuple):
    pixels: Pixels
    side: tuple[int, int]
    name: str
    top: int


class Service:
    """A predictor that answers many callers at once. Decoding runs in one thread a core, the
    network in one thread of its own; who answers callers has the processor before them."""

    def __init__(self, predictor: Predictor, how: Unified, bounds: Bounds) -> None:
        self.predictor, self.how, self.bounds = predictor, how, bounds
        self._decoders = ThreadPoolExecutor(usable_cores(), "striate-decoder", be_modest)
        self._batcher = Batcher(self._answer, bounds.batch, bounds.wait, be_modest)

    def warm_up(self) -> None:
        """Answer an empty image, so that the first caller does not wait for what is set up once."""
        how = self.how
        blank = np.zeros((how.size, how.size, how.channels), np.uint8)
        self._batcher.ask(_Decoded(blank, (how.size, how.size), "warm-up", 1)).result()

    def ask(self, data: bytes, name: str, top: int = 1) -> Future[Any]:
        """The answer to the bytes of an image, with the `top` likeliest classes at least. The
        future raises UndecodableError for what is no image, or too large a one."""
        answer: Future[Any] = Future()

        def decoded(step: Future[_Decoded]) -> None:
            if answer.cancelled():  # the caller has gone: nothing is computed for it
                return
            if step.exception():
                told(step)
            else:
                self._batcher.ask(step.result()).add_done_callback(told)

        def told(step: Future[Any]) -> None:
            with contextlib.suppress(InvalidStateError):  # cancelled just now
                if error := step.exception():
                    answer.set_exception(error)
                else:
                    answer.set_result(step.result())

        self._decoders.submit(self._decode, data, name, top).add_done_callback(decoded)
        return answer

    def close(self) -> None:
        """Answer what was asked, then end the threads."""
        self._decoders.shutdown(wait=True)
        self._batcher.close()

    def _decode(self, data: bytes, name: str, top: int) -> _Decoded:
        header, pixels = examine(data, self.how.max_megapixels, self.how.size)
        return _Decoded(self.how.fit(pixels), (header.height, header.width), name, top)

    def _answer(self, batch: Sequence[_Decoded]) -> Sequence[Any]:
        sides = np.array([image.side for image in batch])
        store = ArrayStore(np.stack([image.pixels for image in batch]), None, 1, sides, self.how)
        names = [image.name for image in batch]
        return self.predictor.answers(store, names, max(image.top for image in batch))


def open_service(source: Path, bounds: Bounds, views: str = "") -> Service:
    """A service of a run's directory, or of a file that was exported. Raises RunError, ModelError
    and MissingExtraError."""
    if source.is_dir():
        run = Run(source)
        predictor = run.predictor if not views else run.predictor.with_views(views)
        return Service(predictor, run.settled.shape, bounds)
    if not source.exists():
        raise RunError(f"no run and no file at {source}", "Name a run's folder or a file of "
                       "`striate export`.")  # fmt: skip
    return Service(*open_export(source), bounds)
