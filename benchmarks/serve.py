"""The prediction service under load: how fast, how late, how it bears too many callers (F22).

    python benchmarks/serve.py            trains on hand signs first (two minutes), then all
    python benchmarks/serve.py RUN        a run of your own, of images in files or an archive

speed: images a second of `striate evaluate`'s way (batches, nothing else) and of the service, with
one image a request and with 16; how long a request takes at half of that load. crowd: 1,000 callers
who together ask four times what the service can do, one request in ten malformed: wrong answers,
how soon others are turned away, memory. The callers run on the same machine, in a process of their
own, so they take processor time from the service.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, judge, machine

import striate
from striate.data.images import EncodedImages
from striate.data.loader import ArrayStore, spread
from striate.plan.data import pictures
from striate.plan.reopen import Reopening

IMAGES, SECONDS, CALLERS = 200, 15.0, 1000
SUSTAINED, LATE, TURNED_AWAY, GROWTH = 0.8, 3.0, 0.1, 1.05


@dataclass
class Said:
    """What callers saw: seconds of requests by status, and answers that were wrong."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    wrong: int = 0
    lost: int = 0

    def add(self, other: Said) -> None:
        for status, times in other.seconds.items():
            self.seconds.setdefault(status, []).extend(times)
        self.wrong += other.wrong
        self.lost += other.lost


def main(arguments: list[str]) -> int:
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        run = striate.Run(arguments[0] if arguments else _trained(folder))
        images, expected = _images(run)
        rate = evaluated(run)
        with Server(run.path, folder) as server:
            print(f"\nbatches without a service: {rate:,.0f} images/s", flush=True)
            bodies = _Bodies(images, expected, 0.0)
            alone, _ = asyncio.run(load(server.port, bodies, 64, 0.0))
            several, _ = asyncio.run(load(server.port, bodies, 16, 0.0, together=16))
            print(
                f"one image a request, 64 callers: {alone:,.0f} images/s\n"
                f"16 images a request, 16 callers: {several:,.0f} images/s",
                flush=True,
            )
            good = judge("sustained, of batches' rate", max(alone, several) / rate, SUSTAINED)
            _, said = asyncio.run(load(server.port, bodies, 64, alone / 2))
            times = sorted(said.seconds[200])
            half, late = statistics.median(times), times[int(0.99 * len(times))]
            print(f"at half load: median {1000 * half:.1f} ms, p99 {1000 * late:.1f} ms")
            good &= judge("p99 over the median", late / half, LATE, most=True)
            good &= crowd(server, _Bodies(images, expected, 0.1), alone)
    return 0 if good else 1


def crowd(server: Server, bodies: _Bodies, capacity: float) -> bool:
    """1,000 callers at four times the capacity."""
    asyncio.run(load(server.port, bodies, CALLERS, 4 * capacity))  # all that grows once has grown
    before = server.memory()
    rate, said = asyncio.run(load(server.port, bodies, CALLERS, 4 * capacity))
    after = server.memory()
    counts = {status: len(times) for status, times in sorted(said.seconds.items())}
    print(f"\n{CALLERS:,} callers, {4 * capacity:,.0f} requests/s wanted: by status {counts}, "
          f"{rate:,.0f} answered images/s, {said.lost} connections lost")  # fmt: skip
    good = judge("wrong answers", said.wrong, 0, most=True)
    away = sorted(said.seconds.get(503, [0.0]))
    print(f"  turned away: median {1000 * statistics.median(away):.0f} ms, "
          f"p99 {1000 * away[int(0.99 * len(away))]:.0f} ms")  # fmt: skip
    good &= judge("seconds until turned away, p99", away[int(0.99 * len(away))], TURNED_AWAY,
                  most=True)  # fmt: skip
    print(f"  memory {before / 1e6:.0f} → {after / 1e6:.0f} MB")
    return judge("growth of memory", after / before, GROWTH, most=True) and good


class _Bodies:
    """Requests with what must come back; a share of them is malformed."""

    def __init__(self, images: list[bytes], expected: list[str], malformed: float) -> None:
        self.images, self.expected, self.malformed = images, expected, malformed

    def one(self, rng: random.Random) -> tuple[bytes, Any]:
        number = rng.randrange(len(self.images))
        data = self.images[number]
        if rng.random() < self.malformed:
            kind = rng.randrange(3)
            return (b"" if kind == 0 else rng.randbytes(2000) if kind == 1 else data[:40]), None
        return data, [self.expected[number]]

    def several(self, rng: random.Random, count: int) -> tuple[bytes, Any, str]:
        border = "x" * 24
        numbers = [rng.randrange(len(self.images)) for _ in range(count)]
        parts = b"".join(
            f'--{border}\r\nContent-Disposition: form-data; name="image"; filename="{i}"\r\n\r\n'
            .encode() + self.images[number] + b"\r\n"
            for i, number in enumerate(numbers)
        )  # fmt: skip
        kind = f"multipart/form-data; boundary={border}"
        return parts + f"--{border}--\r\n".encode(), [self.expected[n] for n in numbers], kind


async def load(
    port: int, bodies: _Bodies, callers: int, rate: float, together: int = 1
) -> tuple[float, Said]:
    """Callers for some seconds, each on a connection of its own; rate: requests a second of all
    together, 0: each asks again as soon as it is answered. → (answered images a second, all)."""
    total, until = Said(), time.perf_counter() + SECONDS
    pause = callers / rate if rate else 0.0
    each = [_caller(port, bodies, number, pause, until, together) for number in range(callers)]
    began = time.perf_counter()
    for said in await asyncio.gather(*each):
        total.add(said)
    seconds = time.perf_counter() - began
    return together * len(total.seconds.get(200, [])) / seconds, total


async def _caller(
    port: int, bodies: _Bodies, number: int, pause: float, until: float, together: int
) -> Said:
    said, rng = Said(), random.Random(number)
    reader = writer = None
    due = time.perf_counter() + rng.random() * pause
    while time.perf_counter() < until:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        kind = "application/octet-stream"
        if together > 1:
            body, wanted, kind = bodies.several(rng, together)
        else:
            body, wanted = bodies.one(rng)
        head = (f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n")  # fmt: skip
        began = time.perf_counter()
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head.encode() + body)
            status, answer = await _answer(reader)
        except (OSError, asyncio.IncompleteReadError):
            said.lost += 1
            writer = None
            continue
        said.seconds.setdefault(status, []).append(time.perf_counter() - began)
        if status == 200:
            found = [a["class"] for a in json.loads(answer)["answers"]]
            said.wrong += found != wanted
        elif status != 503:
            said.wrong += wanted is not None or status != 422
        due = max(time.perf_counter(), due + pause) if pause else 0.0
    if writer is not None:
        writer.close()
    return said


async def _answer(reader: Any) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode().splitlines()
    length = next(int(v.split(":")[1]) for v in lines if v.lower().startswith("content-length"))
    return int(lines[0].split()[1]), await reader.readexactly(length)


class Server:
    """`striate serve` as a process."""

    def __init__(self, run: Path, folder: str) -> None:
        self._command = [sys.executable, "-m", "striate", "serve", str(run), "--port", "0"]
        self._log = Path(folder) / "server.log"

    def __enter__(self) -> Server:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        while "answers at" not in (text := self._log.read_text()):
            time.sleep(0.1)
        self.port = int(text.split("http://127.0.0.1:")[1].split()[0])
        time.sleep(3)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)

    def memory(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return 1000 * int(status.split("VmRSS:")[1].split()[0])


def evaluated(run: striate.Run) -> float:
    """Images a second of the predictor alone, from memory, in the run's own views."""
    val = Reopening(run, run.recipe).split(split="test")
    pixels = pictures(val.store, spread(len(val.split), IMAGES), run.settled.stored_size)
    store = ArrayStore(np.concatenate([pixels] * 10))
    run.predictor.predictions(store)
    began = time.perf_counter()
    run.predictor.predictions(store)
    return len(store) / (time.perf_counter() - began)


def _images(run: striate.Run) -> tuple[list[bytes], list[str]]:
    """Bytes of test images, and what the run says of them."""
    val = Reopening(run, run.recipe).split(split="test")
    images = val.split.images
    assert isinstance(images, EncodedImages), "a run on images in files or an archive is needed"
    chosen = spread(len(images), IMAGES).tolist()
    store = ArrayStore(val.store.load(np.asarray(chosen)))
    said = run.predictor.answers(store, [str(i) for i in chosen])
    encoded = [images.raw(i) for i in chosen]
    common = dict(Counter(answer.label for answer in said).most_common(3))
    print(f"{len(chosen)} images, on average {np.mean([len(e) for e in encoded]):,.0f} bytes; "
          f"answers: {common} …")  # fmt: skip
    return encoded, [answer.label for answer in said]


def _trained(folder: str) -> Path:
    source = DATA / "sign-digits.zip"
    if not source.exists():
        raise SystemExit(f"no data at {source}: set STRIATE_DATA, or name a run")
    os.environ.setdefault("STRIATE_CACHE", f"{folder}/cache")
    return striate.train(source, run=f"{folder}/run", model="fastnet", epochs=6).path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
