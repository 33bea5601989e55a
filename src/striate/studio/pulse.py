"""What is new in all runs, many times a second while a page is open, and never otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import json
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from striate.core.strict_json import one_line
from striate.studio.catalogue import Catalogue
from striate.studio.live import Since, curves_of

_BEAT, _BESIDE, _ROWS, _SEARCH = 0.05, 0.2, 0.25, 1.0
"""Seconds between two looks at the logs (and while a training is at work here, which needs the
processor), two tables, and two searches for runs."""


class Pulse:
    """One reader for all pages: each page is told what changed since it was told last."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._changes: dict[str, int] = {}
        self._count, self._pages = 0, 0
        self._task: asyncio.Task[None] | None = None
        self._beat = asyncio.Event()

    async def follow(
        self, hear: Callable[[], Awaitable[str]], say: Callable[[str], Awaitable[None]]
    ) -> None:
        """Tell one page, until it is gone. It says {"runs": [ids]}: the curves that it shows."""
        wanted: dict[str, Since] = {}

        async def listen() -> None:
            while True:
                said = json.loads(await hear())
                names = said.get("runs", {}) if isinstance(said, dict) else {}
                wanted.clear()
                wanted.update({str(k): Since(*map(int, v)) for k, v in dict(names).items()})

        self._pages += 1
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        listening = asyncio.create_task(listen())
        try:
            await self._tell(wanted, say, listening)
        finally:
            listening.cancel()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await listening
            self._pages -= 1

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _tell(
        self, wanted: dict[str, Since], say: Callable[[str], Awaitable[None]],
        listening: asyncio.Task[None],
    ) -> None:  # fmt: skip
        told, waiting, last = 0, "", 0.0
        self._changes.update(dict.fromkeys(self._catalogue.tails, self._count + 1))
        clock = asyncio.get_running_loop().time
        while not listening.done():
            beat = asyncio.ensure_future(self._beat.wait())
            await asyncio.wait({beat, listening}, return_when=asyncio.FIRST_COMPLETED)
            beat.cancel()
            for name in [n for n, at in self._changes.items() if at > told and n in wanted]:
                await self._tell_curves(name, wanted, say)
            if clock() - last < _ROWS:
                continue
            last, now = clock(), self._count
            changed = [n for n, at in self._changes.items() if at > told]
            rows = await asyncio.to_thread(self._catalogue.waiting)
            others = one_line([asdict(row) for row in rows])
            if not changed and others == waiting:
                continue
            table = await asyncio.to_thread(self._catalogue.rows, changed)
            told, waiting = now, others
            await say(one_line({
                "rows": [asdict(row) for row in table], "waiting": [asdict(row) for row in rows],
                "all": list(self._catalogue.tails),
            }))  # fmt: skip

    async def _tell_curves(
        self, name: str, wanted: dict[str, Since], say: Callable[[str], Awaitable[None]]
    ) -> None:
        """What a page does not have yet of a run's curves."""
        tail, has = self._catalogue.tails.get(name), wanted.get(name)
        if tail is None or has is None:
            return
        found = await asyncio.to_thread(curves_of, tail, has)
        more = found.step or found.epoch_step or found.measured
        if not more and found.generation == has.generation:
            return
        step = int(found.step[-1]) if found.step else has.step
        if wanted.get(name) == has:  # the page may have said something else meanwhile
            wanted[name] = Since(found.generation, step, found.epochs, found.measurements)
        await say(one_line({"curves": asdict(found)}))

    async def _run(self) -> None:
        """Read on and on while there are pages."""
        clock, searched = asyncio.get_running_loop().time, 0.0
        try:
            while self._pages:
                search = clock() - searched > _SEARCH
                searched = clock() if search else searched
                try:
                    await self._look(search)
                except Exception as error:
                    traceback.print_exception(error)
                busy = any(tail.running for tail in self._catalogue.tails.values())
                await asyncio.sleep(_BESIDE if busy else _BEAT)
        finally:
            self._task = None

    async def _look(self, search: bool) -> None:
        """Read all logs on; now and then search for runs, and ask which are at work."""
        changed = await asyncio.to_thread(self._catalogue.read)
        if search:
            if await asyncio.to_thread(self._catalogue.look):
                changed = list(self._catalogue.tails)
            changed += await asyncio.to_thread(self._catalogue.look_who_runs)
        if changed or search:  # a second after the last change the last table is told too
            self._count += 1
            self._changes.update(dict.fromkeys(changed, self._count))
            beat, self._beat = self._beat, asyncio.Event()
            beat.set()
