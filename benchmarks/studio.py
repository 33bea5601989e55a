"""The studio: how soon pages are there, what being watched costs, what a kill loses.

    python benchmarks/studio.py paint            first paint; a run of 100,000 steps; 100 runs
    python benchmarks/studio.py grid             scrolling through 70,000 images (mnist)
    python benchmarks/studio.py play             updates and pictures a second of the playground
    python benchmarks/studio.py slow [PAIRS]     the speed of a training with pages open and without
    python benchmarks/studio.py cost             processor time of server and browser beside one
    python benchmarks/studio.py live [MINUTES]   20 updates a second, memory of page and server
    python benchmarks/studio.py kills [COUNT]    kill -9 of the studio while it trains
    python benchmarks/studio.py pictures [DIR]   the pictures of docs/studio.md

Needs Chromium and playwright; data from STRIATE_DATA (default ../shared/data).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import DATA, machine
from PIL import Image

from striate.core.records import Epoch, Planned, Started, Step, to_json

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), "")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


class Studio:
    """A studio as a person starts it."""

    def __init__(self, folder: Path, *flags: str) -> None:
        command = [sys.executable, "-m", "striate", "studio", "--port", "0", *flags]
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = re.search(r"http\S+", self.process.stdout.readline())[0]  # type: ignore[index]
        self.base, _, self.token = self.address.partition("/?token=")
        self.port = int(self.base.rpartition(":")[2])

    def ask(self, path: str, body: Any = None) -> Any:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        heads = {"Cookie": f"striate-{self.port}={self.token}", "Origin": self.base,
                 "Content-Type": "application/json"}  # fmt: skip
        method = "GET" if body is None else "POST"
        link.request(method, path, None if body is None else json.dumps(body), heads)
        found = json.loads(link.getresponse().read())
        link.close()
        return found

    def megabytes(self) -> float:
        return _megabytes(self.process.pid)

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def studio(folder: Path, *flags: str) -> Iterator[Studio]:
    found = Studio(folder, *flags)
    try:
        yield found
    finally:
        found.process.terminate()
        found.process.wait()


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


def write_run(folder: Path, steps: int, per_epoch: int = 1000) -> None:
    """A run directory by hand."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "environment.json").write_text('{"format": 1}')
    (folder / "recipe.yaml").write_text("data:\n  source: digits\n")
    with (folder / "records.jsonl").open("w") as log:
        log.write(to_json(Started(str(folder), "digits")) + "\n")
        log.write(to_json(Planned(steps // per_epoch, steps, 100, "lenet", 9, "accuracy")) + "\n")
        for n in range(1, steps + 1):
            loss = 2 / (1 + 20 * n / steps)
            log.write(to_json(Step(n, (n - 1) // per_epoch, loss, 0.1, 1.0, 500.0)) + "\n")
            if n % per_epoch == 0:
                epoch = Epoch(n // per_epoch, n, loss, loss, 0.9, 1.0, True)
                log.write(to_json(epoch) + "\n")


def paint(_: list[str]) -> int:
    """Milliseconds to the first paint, and until the curves are drawn; of a second visit too."""
    with tempfile.TemporaryDirectory() as base, browser() as chromium:
        home = Path(base) / "runs"
        write_run(home / "long", 100_000)
        for n in range(99):
            write_run(home / f"run-{n:03}", 500, 50)
        with studio(Path(base)) as found:
            page = chromium.new_page()
            page.goto(found.address)
            page.wait_for_selector("table.runs tbody tr")
            run = next(r["id"] for r in found.ask("/api/runs") if r["name"] == "long")
            for name, path, seen in (
                ("runs, 100 of them", "/", "table.runs tbody tr >> nth=99"),
                ("run of 100,000 steps", f"/run/{run}", ".uplot canvas >> nth=3"),
                ("playground", "/playground", ".plane canvas >> nth=1"),
            ):
                page.goto("about:blank")
                began = time.perf_counter()
                page.goto(found.base + path)
                page.wait_for_selector(seen)
                whole = 1000 * (time.perf_counter() - began)
                first = page.evaluate(
                    "performance.getEntriesByName('first-contentful-paint')[0].startTime"
                )
                print(f"{name}: first paint {first:.0f} ms, all of it {whole:.0f} ms", flush=True)
        with studio(Path(base)) as fresh:  # nothing was read yet
            page.goto(fresh.address)
            began = time.perf_counter()
            page.goto(f"{fresh.base}/run/{run}")
            page.wait_for_selector(".uplot canvas >> nth=3")
            whole = 1000 * (time.perf_counter() - began)
            print(f"run of 100,000 steps, in a studio that never read it: {whole:.0f} ms")
    return 0


def grid(_: list[str]) -> int:
    """Milliseconds until the tiles of a place in the grid are there, at 30 random places."""
    with tempfile.TemporaryDirectory() as base, browser() as chromium, studio(
        Path(base), "--data", str(DATA)
    ) as found:  # fmt: skip
        name = next(r["id"] for r in found.ask("/api/sources") if r["name"] == "mnist")
        page = chromium.new_page()
        page.goto(found.address)
        page.goto(f"{found.base}/data/{name}")
        page.wait_for_selector(".grid img", timeout=120_000)
        print(page.locator("p.hint", has_text="images").first.inner_text())
        took = []
        for n in range(30):
            began = time.perf_counter()
            page.evaluate(
                "share => { const g = document.querySelector('.grid');"
                " g.scrollTop = share * (g.scrollHeight - g.clientHeight); }",
                (n * 0.618) % 1,
            )
            page.wait_for_timeout(20)
            while not page.evaluate(
                "[...document.querySelectorAll('.grid img')].every(i => i.complete)"
            ):
                time.sleep(0.005)
            took.append(1000 * (time.perf_counter() - began))
        print(f"a place in the grid: median {statistics.median(took):.0f} ms, "
              f"slowest {max(took):.0f} ms")  # fmt: skip
    return 0


def play(_: list[str]) -> int:
    """Updates and pictures a second, of the default and of the spiral's network."""
    with tempfile.TemporaryDirectory() as base, browser() as chromium, studio(
        Path(base)
    ) as found:  # fmt: skip
        page = chromium.new_page()
        frames: list[float] = []
        page.on("websocket", lambda s: s.on("framereceived", lambda _: frames.append(time.time())))
        page.goto(found.address)
        for query in ("", "?data=spiral&layers=8,8&features=x1,x2,x1²,x2²,x1x2,sin x1,sin x2"
                          "&rule=adam&count=600&epochs=10000"):  # fmt: skip
            page.goto(f"{found.base}/playground{query}")
            page.wait_for_selector(".plane")
            for speed in ("10", "500"):
                page.get_by_label("speed").select_option(speed)
                page.locator(".bar button.main").click()
                page.wait_for_timeout(1500)
                count = page.locator(".count b").last
                before, seen, began = _count(count), len(frames), time.perf_counter()
                page.wait_for_timeout(6000)
                seconds = time.perf_counter() - began
                updates = (_count(count) - before) / seconds
                pictures = (len(frames) - seen) / seconds
                print(f"{query[1:12] or 'circle'}, speed {speed}: {updates:.0f} updates and "
                      f"{pictures:.1f} pictures a second", flush=True)  # fmt: skip
                page.locator(".bar button.main").click()
    return 0


def slow(arguments: list[str]) -> int:
    """Images a second of the same training, in turn: with the watch page open, and without."""
    pairs = int(arguments[0]) if arguments else 5
    ratios: dict[str, list[float]] = {"the curves": [], "watch it see": []}
    with tempfile.TemporaryDirectory() as base, browser() as chromium, studio(
        Path(base)
    ) as found:  # fmt: skip
        page = chromium.new_page()
        page.goto(found.address)
        for number in range(pairs):
            alone = _trained(Path(base), f"alone-{number}", None)
            for name, known in ratios.items():
                path = "watch" if "watch" in name else "run"

                def show(run: str, path: str = path) -> None:
                    page.goto(f"{found.base}/{path}/{run}")

                known.append(alone / _trained(Path(base), f"{path}-{number}", (found, show)))
                page.goto("about:blank")
            print({k: [round(r, 3) for r in v] for k, v in ratios.items()}, flush=True)
    for name, found_ratios in ratios.items():
        print(f"with {name} open a training takes {statistics.median(found_ratios):.3f} times as "
              f"long (median of {pairs})")  # fmt: skip
    return 0


def cost(_: list[str]) -> int:
    """Of the machine's cores, what the server, the browser and a training use beside each other."""
    command = [sys.executable, "-m", "striate", "train", str(DATA / "mnist"), "--run", "runs/one",
               "--epochs", "3", "--report.no-write", "--data.check", "off"]  # fmt: skip
    with tempfile.TemporaryDirectory() as base, browser() as chromium, studio(
        Path(base)
    ) as found:  # fmt: skip
        page = chromium.new_page()
        page.goto(found.address)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, cwd=base, **quiet) as training:  # type: ignore[call-overload]
            rows: list[Any] = []
            while not rows:
                rows = [r for r in found.ask("/api/runs") if r["state"] == "running"]
                time.sleep(0.2)
            for path in ("run", "watch"):
                page.goto(f"{found.base}/{path}/{rows[0]['id']}")
                page.wait_for_timeout(12_000)  # the data are opened once
                who = {"server": [found.process.pid], "browser": _processes("chromium"),
                       "training": [training.pid]}  # fmt: skip
                before, began = {k: _processor(v) for k, v in who.items()}, time.time()
                page.wait_for_timeout(20_000)
                seconds = time.time() - began
                shares = {k: (_processor(v) - before[k]) / seconds for k, v in who.items()}
                print(f"{path}: " + ", ".join(f"{k} {v:.3f} cores" for k, v in shares.items()),
                      flush=True)  # fmt: skip
            training.terminate()
    return 0


def _processes(name: str) -> list[int]:
    found = subprocess.run(["pgrep", "-f", name], capture_output=True, text=True, check=False)
    return [int(number) for number in found.stdout.split()]


def _processor(pids: list[int]) -> float:
    """Seconds of processor time that processes have used."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _trained(base: Path, name: str, watched: Any) -> float:
    """Images a second in the second half of a training of MNIST's IDX files."""
    run = base / "runs" / name
    with subprocess.Popen(
        [sys.executable, "-m", "striate", "train", str(DATA / "mnist"), "--run", str(run),
         "--epochs", "1", "--report.no-write", "--data.check", "off"],
        cwd=base, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        while watched and process.poll() is None:
            rows = [r for r in watched[0].ask("/api/runs") if r["name"] == name]
            if rows and rows[0]["state"] == "running":
                watched[1](rows[0]["id"])
                break
            time.sleep(0.2)
        process.wait()
    lines = (run / "records.jsonl").read_text().splitlines()
    speeds = [json.loads(line)["images_per_second"] for line in lines if '"kind": "step"' in line]
    return statistics.harmonic_mean(speeds[len(speeds) // 4 :])


def live(arguments: list[str]) -> int:
    """A log that grows by 20 steps a second; memory of page and server each minute."""
    minutes = float(arguments[0]) if arguments else 10
    with tempfile.TemporaryDirectory() as base, browser() as chromium:
        run = Path(base) / "runs" / "one"
        write_run(run, 2000)
        with studio(Path(base)) as found:
            page = chromium.new_page()
            updates: list[int] = []
            page.on("websocket", lambda s: s.on("framereceived", lambda _: updates.append(1)))
            page.goto(found.address)
            name = found.ask("/api/runs")[0]["id"]
            page.goto(f"{found.base}/run/{name}")
            page.wait_for_selector(".uplot canvas")
            session = page.context.new_cdp_session(page)
            step, began, told = 2000, time.monotonic(), -1.0
            with (run / "records.jsonl").open("a") as log:
                while (passed := time.monotonic() - began) < 60 * minutes:
                    step += 1
                    log.write(to_json(Step(step, step // 1000, 0.5, 0.1, 1.0, 20.0)) + "\n")
                    log.flush()
                    if passed >= told + 60:
                        told = passed
                        session.send("HeapProfiler.collectGarbage")
                        heap = session.send("Runtime.getHeapUsage")["usedSize"] / 1e6
                        print(f"{passed / 60:4.0f} min: page {heap:.1f} MB, "
                              f"server {found.megabytes():.0f} MB", flush=True)  # fmt: skip
                    page.wait_for_timeout(max(0, 50 - 1000 * (time.monotonic() - began - passed)))
            seconds = time.monotonic() - began
            print(f"{(step - 2000) / seconds:.1f} steps written and {len(updates) / seconds:.1f} "
                  "messages shown a second")  # fmt: skip
    return 0


def kills(arguments: list[str]) -> int:
    """The studio is killed at random moments while trainings start, run and are paused; a new one
    sees all of them, and each reaches its end."""
    import random

    count, draw = int(arguments[0]) if arguments else 20, random.Random(0)
    knobs = {"model.name": "lenet", "optim.rule": "momentum", "optim.lr": 0.05,
             "budget.epochs": 12, "report.write": False, "device.threads": 1}  # fmt: skip
    begun, lost = set(), 0
    with tempfile.TemporaryDirectory() as base:
        for number in range(count):
            found = Studio(Path(base))
            begun.add(found.ask("/api/trainings", {"source": "digits", "knobs": knobs})["id"])
            time.sleep(draw.uniform(0, 6))
            if number % 4 == 3:
                for row in found.ask("/api/runs"):
                    if row["state"] == "running":
                        found.ask(f"/api/runs/{row['id']}/pause", {})
            found.kill()
        with studio(Path(base)) as found:
            last = time.monotonic() + 600
            while time.monotonic() < last:
                rows = {row["id"]: row for row in found.ask("/api/runs")}
                for row in rows.values():
                    if row["state"] == "can be resumed":
                        found.ask(f"/api/runs/{row['id']}/resume", {})
                if all(rows.get(n, {}).get("state") == "finished" for n in begun):
                    break
                time.sleep(2)
            rows = {row["id"]: row for row in found.ask("/api/runs")}
            lost = sum(rows.get(n, {}).get("state") != "finished" for n in begun)
    print(f"{count} kills, {len(begun)} trainings begun, {lost} did not reach their end")
    return int(lost > 0)


def pictures(arguments: list[str]) -> int:
    """The documents' pictures: of a run on ants and bees, a branch of it, and the playground."""
    out = Path(arguments[0] if arguments else "docs/pictures")
    with tempfile.TemporaryDirectory() as base, browser() as chromium:
        for words in (
            ["train", str(DATA / "ants-bees.zip"), "--run", "runs/ants-bees"],
            ["branch", "runs/ants-bees", "--lr", "0.0003", "--epochs", "14", "--run",
             "runs/ants-bees-slower"],
            ["train", "--run", "runs/too-fast", "--model", "lenet", "--optim.rule", "sgd", "--lr",
             "3", "--epochs", "8"],
        ):  # fmt: skip
            subprocess.run([sys.executable, "-m", "striate", *words], cwd=base, check=False)
        with studio(Path(base)) as found:
            page = chromium.new_page(viewport={"width": 1200, "height": 760})
            page.goto(found.address)
            page.wait_for_selector("table.runs")
            run = next(r["id"] for r in found.ask("/api/runs") if r["name"] == "ants-bees")
            for number in (1, 2):
                page.get_by_role("checkbox").nth(number).check()
            page.wait_for_timeout(1500)
            page.screenshot(path=out / "studio-runs.png")
            page.goto(f"{found.base}/watch/{run}")
            page.wait_for_selector(".units img", timeout=60_000)
            page.locator("select").select_option(index=6)
            page.wait_for_timeout(3000)
            page.screenshot(path=out / "studio-watch.png", full_page=True)
            page.goto(f"{found.base}/data/{run}")
            page.wait_for_selector(".grid img", timeout=60_000)
            page.locator(".grid .canvas").click(position={"x": 150, "y": 80})
            page.get_by_text("finds most alike").wait_for(timeout=90_000)
            page.wait_for_timeout(800)
            page.screenshot(path=out / "studio-data.png")
            page.goto(f"{found.base}/playground?data=spiral&layers=8,8&rule=adam&count=600"
                      "&features=x1,x2,x1²,x2²,x1x2,sin x1,sin x2")  # fmt: skip
            page.wait_for_selector(".plane")
            page.locator(".bar button.main").click()
            page.wait_for_timeout(9000)
            page.screenshot(path=out / "studio-playground.png")
    for picture in out.glob("studio-*.png"):
        Image.open(picture).convert("RGB").quantize(200).save(picture, optimize=True)
    return 0


def _count(locator: Any) -> int:
    return int(locator.inner_text().replace(",", ""))


def _megabytes(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]


def main(argv: list[str]) -> int:
    parts = {"paint": paint, "grid": grid, "play": play, "slow": slow, "live": live,
             "cost": cost, "kills": kills, "pictures": pictures}  # fmt: skip
    if not argv or argv[0] not in parts:
        print(__doc__)
        return 2
    print(machine() + "\n", flush=True)
    return parts[argv[0]](argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
