"""Shared fixtures: tiny picture sets that a network learns in a second, and one trained run."""

from __future__ import annotations

import functools
import gc
import http.server
import io
import os
import threading
import zlib
from pathlib import Path

_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
if _WORKER and hasattr(os, "sched_setaffinity"):
    # Where several processes share the tests, each keeps to a core of its own, before NumPy and
    # torch count the cores: their threads would wait for each other on it, tenfold as long.
    _cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_cores[int(_WORKER.removeprefix("gw")) % len(_cores)]})

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from PIL import Image  # noqa: E402

COLOURS = {"blue": (40, 60, 200), "green": (40, 190, 60), "red": (200, 50, 40)}
STAGED = ("conv 3x3 8 pad 1, batchnorm, relu, pool 2, conv 3x3 8 pad 1, batchnorm, relu, pool 2, "
          "conv 3x3 12 pad 1, batchnorm, relu, gap, fc classes")  # fmt: skip
"""A small network with three stages before its head, and batch norm."""
QUICK = {
    "model": STAGED, "epochs": 2, "batch_size": 8, "image_size": 16, "augment.flip": False,
    "report.write": False,
}  # fmt: skip
"""Knobs of a training of under a second; who looks at the report or the default network says so."""
OF_STRIDES = (
    ", ".join(f"conv 3x3 {wide} stride 2 pad 1, batchnorm, relu" for wide in (16, 24, 32, 48, 64))
    + ", fc classes"
)
"""A small network with maps at strides 2 to 32, as detectors need."""
DETECTING = {
    "model": OF_STRIDES, "epochs": 2, "lr": 3e-3, "optim.rule": "adam",
    "device.precision": "float32", "device.threads": 1, "data.workers": 1, "report.write": False,
}  # fmt: skip
"""Knobs of a short training of a detector."""
_SLOW_FIRST = ("test_docs.py", "test_verbs.py", "test_search.py", "test_runs.py", "test_loop.py")


def pytest_collection_modifyitems(items):
    """The slowest files first, so that no process is left with one of them at the end."""
    rank = {name: i for i, name in enumerate(_SLOW_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


def pytest_collection_finish():
    """What is imported by now, a million objects, stays: the collector need not look at it."""
    gc.collect()
    gc.freeze()


def rectangles(count, seed, side=128):
    """Images of one to three bright rectangles of two colours, apart from each other, and boxes."""
    from striate.data.boxes import boxes_of

    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (count, side, side, 3), dtype=np.uint8)
    rows = []
    for image in images:
        places, numbers = [], []
        for _ in range(rng.integers(1, 4)):
            wide, high = rng.integers(16, 60, 2)
            left, top = rng.integers(0, side - wide), rng.integers(0, side - high)
            new = (left, top, left + wide, top + high)
            if any(new[0] <= p[2] and p[0] <= new[2] and new[1] <= p[3] and p[1] <= new[3]
                   for p in places):  # fmt: skip
                continue
            places.append(new)
            numbers.append(int(rng.integers(0, 2)))
            image[top : top + high, left : left + wide, numbers[-1]] = 220
        flags = np.zeros(len(places), dtype=np.uint8)
        rows.append((np.array(places, dtype=float), np.array(numbers), flags))
    return images, boxes_of(rows)


def write_rectangles(root):
    """`rectangles` as files with a table of their boxes: 32 for training, 10 and 10."""
    lines = ["path,left,top,right,bottom,class,split"]
    for split, count, seed in (("train", 32, 0), ("val", 10, 1), ("test", 10, 2)):
        images, boxes = rectangles(count, seed)
        for i, image in enumerate(images):
            name = f"{split}{i}.png"
            Image.fromarray(image).save(root / name)
            own = boxes.only(i)
            for place, number in zip(own.places, own.numbers, strict=True):
                sides = ",".join(f"{side:.0f}" for side in place)
                lines.append(f"{name},{sides},{('red', 'green')[number]},{split}")
    (root / "boxes.csv").write_text("\n".join(lines) + "\n")
    return root


def picture(colour, size=(16, 16), seed=0, noise=30):
    """A noisy uniform image: uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    shape = (size[1], size[0], 3)
    return np.clip(np.array(colour) + rng.normal(0, noise, shape), 0, 255).astype(np.uint8)


def encoded(array, form="PNG", **options):
    """An array as the bytes of an image file."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form, **options)
    return buffer.getvalue()


def write_tree(root: Path, counts, size=(16, 16), ending=".png", form="PNG"):
    """`counts`: {"train/red": 6, …} → files root/train/red/0.png …"""
    for place, count in counts.items():
        folder = root / place
        folder.mkdir(parents=True, exist_ok=True)
        colour = COLOURS.get(folder.name, (128, 128, 128))
        for i in range(count):
            seed = i + zlib.crc32(place.encode())  # no two images of a tree are equal
            (folder / f"{i}{ending}").write_bytes(encoded(picture(colour, size, seed), form))
    return root


def write_colours(root: Path, train=12, val=4, test=4):
    """The three colours in the three splits: images of each class."""
    counts = {"train": train, "val": val, "test": test}
    return write_tree(root, {f"{split}/{c}": n for split, n in counts.items() for c in COLOURS})


class _Ranges(http.server.SimpleHTTPRequestHandler):
    """Python's server, with the byte ranges that every real one has."""

    def do_GET(self):
        wanted = self.headers.get("Range", "")
        if not wanted.startswith("bytes="):
            super().do_GET()
            return
        data = Path(self.translate_path(self.path)).read_bytes()
        first, _, last = wanted[6:].partition("-")
        start, stop = int(first), min(int(last) + 1 if last else len(data), len(data))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(data[start:stop])

    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """The tests' decoded images are nobody else's."""
    os.environ["STRIATE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def tree(tmp_path):
    """train/val/test of three colours."""
    counts = {
        f"{split}/{c}": n for split, n in (("train", 12), ("val", 4), ("test", 4)) for c in COLOURS
    }
    return write_tree(tmp_path / "colours", counts)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """(run folder, data folder) of one finished training, shared and not to be changed."""
    import striate

    base = tmp_path_factory.mktemp("trained")
    counts = {
        f"{split}/{c}": n for split, n in (("train", 12), ("val", 4), ("test", 4)) for c in COLOURS
    }
    data = write_tree(base / "colours", counts)
    knobs = {**QUICK, "model": "fastnet", "model.width": 0.25, "epochs": 25, "report.write": True}
    run = striate.train(data, run=base / "run", **knobs)
    return run.path, data


@pytest.fixture(scope="session")
def real_data():
    """The optional folder of real data sets."""
    folder = Path(os.environ.get("STRIATE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set STRIATE_DATA to test on it")
    return folder


@pytest.fixture
def served():
    """Serve a folder over HTTP: → its address."""
    servers = []

    def serve(folder):
        handler = functools.partial(_Ranges, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def striate_cli(capsys, monkeypatch, tmp_path):
    """Run a command in-process: → (exit code, standard output, standard error)."""
    from striate.cli.main import main

    monkeypatch.chdir(tmp_path)

    def run(*argv):
        try:
            code = main([str(a) for a in argv])
        except SystemExit as stop:
            code = stop.code
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run
