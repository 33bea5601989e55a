"""The data floor: loaders against torchvision's, memory, the audit. All ratios are from one run.

    python benchmarks/data.py                 everything (about ten minutes on two cores)
    python benchmarks/data.py jpeg small      some of it (see PARTS)

Real images are read from STRIATE_DATA (default ../shared/data); without them `jpeg` and `small` use
noise with shapes, and the last three are left out. Both sides get the same number of workers:
processes for torchvision's DataLoader, threads for ours.
"""

from __future__ import annotations

import io
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from alterations import ALTERED, RE_ENCODED, pixels
from common import judge
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from striate.core.runtime import keep_pages, processor_name, usable_cores, version_of
from striate.data.augment import About, Pipeline
from striate.data.cache import Cache
from striate.data.check.copies import copies_across
from striate.data.check.duplicates import Copy
from striate.data.check.survey import Survey, survey
from striate.data.dataset import Dataset as Opened
from striate.data.dataset import Split
from striate.data.decode import Unified
from striate.data.images import EncodedImages, FolderSource, Images, MemorySource
from striate.data.loader import ArrayStore, FileStore, Store, batches, epoch_plan
from striate.data.read import SplitDecoder
from striate.data.sources import open_source
from striate.data.sources.pictures import open_pictures
from striate.data.sources.sharded import ENTRY
from striate.data.strings import Strings
from striate.data.targets import blank

DATA = Path(os.environ.get("STRIATE_DATA", Path(__file__).parents[2] / "shared" / "data"))
WORKERS = 2
RNG = np.random.default_rng(0)


def main(names: list[str]) -> int:
    keep_pages()
    print(f"{processor_name()}, {usable_cores()} cores, torch {version_of('torch')}, torchvision "
          f"{version_of('torchvision')}, Python {platform.python_version()}")  # fmt: skip
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in names or PARTS:
            print(f"\n{name}: {(PARTS[name].__doc__ or '').splitlines()[0]}", flush=True)
            missed += not PARTS[name](Path(folder))
    return 1 if missed else 0


def jpeg(folder: Path) -> bool:
    """2,000 JPEGs of 500×375 → augmented 224 px batches, against ImageFolder, v2, DataLoader."""
    root = folder / "jpegs"
    encoded = list(_jpegs(2000))
    for number, data in enumerate(encoded):
        path = root / f"class{number % 4}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    transform = v2.Compose(
        [v2.PILToTensor(), v2.RandomResizedCrop(224, (0.35, 1), antialias=True),
         v2.RandomHorizontalFlip()]
    )  # fmt: skip
    loader = DataLoader(ImageFolder(str(root), transform), 64, shuffle=True, num_workers=WORKERS)
    everything = open_source(root).parts["all"].images
    theirs: list[float] = []
    first: dict[str, list[float]] = {"full": [], "off": []}
    second: dict[str, list[float]] = {"full": [], "off": []}
    for _ in range(9):  # in turn: the ratio of neighbours bears other programs on the machine
        theirs.append(_timed(lambda: sum(1 for _ in loader)))
        pipe = Pipeline(0, {"resized": 0.65, "flip": 0.5}, About(224, np.full(3, 120.0)))
        for check in ("full", "off"):
            cache = Cache(folder / "cache", 2**34)
            how = Unified(256, 3, "crop", 100)
            decoder = SplitDecoder(how, cache, in_memory=False, check=check)
            started = time.perf_counter()
            read = decoder.read(everything)
            store = decoder.store(everything, read, np.arange(len(everything)), again=True)
            _epoch(store, pipe, 0)
            first[check].append(time.perf_counter() - started)
            second[check].append(_timed(partial(_epoch, store, pipe, 1)))
            shutil.rmtree(folder / "cache")
    limit = _timed(lambda: _decode_only(encoded))
    n = len(encoded)
    print(f"  torchvision: {n / min(theirs):,.0f} images/s (best of nine, as all; ratios: medians)")
    for check, what in (("full", "everything checked first"), ("off", "--data.check off")):
        print(f"  first epoch, {what}: {n / min(first[check]):,.0f} images/s; "
              f"second: {n / min(second[check]):,.0f}")  # fmt: skip
    print(f"  the decoder alone on {WORKERS} threads: {n / limit:,.0f} images/s; "
          f"the first epoch reaches {limit / min(first['off']):.0%} of it")  # fmt: skip

    def gain(ours: list[float]) -> float:
        return float(np.median(np.divide(theirs, ours)))

    good = judge("first epoch, decoding as torchvision does", gain(first["off"]), 1.5)
    judge("first epoch, everything checked before it", gain(first["full"]), 1.5)
    worst = min(map(gain, second.values()))
    return judge("second epoch, from the cache", worst, 4) and good


def _epoch(store: Store, pipe: Pipeline, number: int) -> None:
    plan, targets = epoch_plan(len(store), 64, 0, number), blank(len(store))
    for _ in batches(store, targets, plan, pipe, number, start=0, threads=WORKERS):
        pass


def small(_: Path) -> bool:
    """50,000 images of 32 px in memory: crop, flip, cutout, against per-sample v2."""
    pixels = _cifar()

    class InMemory(Dataset):  # type: ignore[type-arg]
        def __init__(self) -> None:
            self.images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
            self.change = v2.Compose(
                [v2.RandomCrop(32, 2, padding_mode="reflect"), v2.RandomHorizontalFlip(),
                 v2.RandomErasing(1.0, (1 / 16, 1 / 16), (1, 1), value=0)]
            )  # fmt: skip

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, index: int) -> torch.Tensor:
            changed: torch.Tensor = self.change(self.images[index])
            return changed

    torch.set_num_threads(usable_cores())
    theirs = _timed(lambda: sum(1 for _ in DataLoader(InMemory(), 256, True, num_workers=WORKERS)))
    pipe = Pipeline(0, {"pad": 2, "flip": 0.5, "cutout": 8}, About(32, np.full(3, 120.0)))
    store, targets = ArrayStore(pixels), blank(len(pixels))

    def ours() -> None:
        plan = epoch_plan(len(store), 256, 0, 0)
        for _ in batches(store, targets, plan, pipe, 0, start=0, threads=WORKERS):
            pass

    times = [_timed(ours) for _ in range(3)]
    n = len(pixels)
    print(f"  torchvision {n / theirs:,.0f} images/s, ours {n / min(times):,.0f}")
    return judge("small images", theirs / min(times), 4)


def memory(folder: Path) -> bool:
    """20 epochs over an index of a million files: growth of memory and descriptors."""
    path = folder / "one.png"
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(path)
    count = 1_000_000
    keys = Strings.of("one.png" for _ in range(count))
    images = EncodedImages(FolderSource(folder), keys)
    store = FileStore(images, Unified(8, 3, "crop", 1))
    pipe = Pipeline(0, {"flip": 0.5}, About(8, np.zeros(3)))
    targets = blank(count)
    used, open_files = [], []
    for epoch in range(20):
        plan = epoch_plan(count, 256, 0, epoch)[:40]  # all are planned, 10,240 are decoded
        for _ in batches(store, targets, plan, pipe, epoch, start=0, threads=WORKERS):
            pass
        used.append(_resident())
        open_files.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208
    slope = np.polyfit(np.arange(10, 20), used[10:], 1)[0] / 1e6
    print(f"  resident {used[0] / 1e6:.0f} → {used[-1] / 1e6:.0f} MB; "
          f"descriptors {open_files[0]} → {open_files[-1]}")  # fmt: skip
    good = judge("MB an epoch, over the last ten", slope, 1, most=True)
    return judge("descriptors opened", open_files[-1] - open_files[0], 0, most=True) and good


def index(folder: Path) -> bool:
    """Ten million entries of tar shards: time to open, and memory, in a process of its own."""
    count = 10_000_000
    entries = np.lib.format.open_memmap(
        folder / "train.entries.npy", mode="w+", dtype=ENTRY, shape=(count,)
    )
    entries["offset"], entries["size"] = np.arange(count) * 1024, 1000
    np.save(folder / "train.labels.npy", np.arange(count, dtype=np.int32) % 1000)
    entries.flush()
    digits = np.char.zfill(np.arange(count).astype("S8"), 8).view(np.uint8)
    np.save(folder / "train.names.npy", digits)
    np.save(folder / "train.names-ends.npy", np.arange(1, count + 1) * 8)
    names = ", ".join(f'"{i}"' for i in range(1000))
    (folder / "striate-shards.json").write_text(
        f'{{"format": 1, "classes": [{names}], "splits": {{"train": ["a.tar"]}}, '
        '"multi_label": false, "columns": []}'
    )
    code = (
        "import time, pathlib, striate.data.sources.sharded as s; t = time.perf_counter();"
        f"p = s.open_shards({str(folder)!r}).parts['train']; n = p.images.key(len(p) - 1);"
        "print(time.perf_counter() - t, pathlib.Path('/proc/self/status').read_text()"
        ".split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, kilobytes = (float(value) for value in done.stdout.split())
    good = judge("seconds", seconds, 2, most=True)
    return judge("MB, imports included", kilobytes / 1e3, 600, most=True) and good


def audit(folder: Path) -> bool:
    """`striate data check` of CIFAR-10's 60,000 files, everything, in a fresh process and cache."""
    if not (DATA / "cifar10-jpeg.zip").exists():
        return _absent()
    environment = {**os.environ, "STRIATE_CACHE": str(folder / "empty")}
    program = [str(Path(sys.executable).with_name("striate")), "data", "check"]
    command = [*program, str(DATA / "cifar10-jpeg.zip"), "--json"]
    seconds = _timed(
        lambda: subprocess.run(command, env=environment, capture_output=True, check=False)
    )
    quick = _timed(
        lambda: subprocess.run([*command, "--quick"], env=environment, capture_output=True,
                               check=False)
    )  # fmt: skip
    print(f"  again with --quick, from the cache: {quick:.1f} s")
    return judge("seconds", seconds, 90, most=True)


def leakage(_: Path) -> bool:
    """What people do to pictures, planted in the test split: recall and false pairs by family."""
    if not DATA.is_dir():
        return _absent()
    good = True
    for name in ("tinyin-cifar7.zip", "pacs3.zip#photo", "mnist"):
        parts = open_source(DATA / name).parts
        train, test = parts["train"].images, parts["test"].images
        chosen = RNG.choice(len(train), min(100, len(train)), replace=False).tolist()
        print(f"  {name}: {len(train):,} and {len(test):,} images, {len(chosen)} of each kind")
        known = (
            survey(train, Unified(32, 3, "squash", 100)),
            survey(test, Unified(32, 3, "squash", 100)),
        )
        exact = {f"e{i}.png": _png(train.pixels(i, 100)) for i in chosen}
        hits, false, reported = _found_again(train, known[0], exact)
        good &= judge("exact", hits / len(chosen), 1)
        for family, least in ((RE_ENCODED, 0.95), (ALTERED, 0.8)):
            for kind, strengths in family.items():
                hits = 0
                for number, alter in enumerate(strengths):
                    planted = {
                        f"{number}-{i}.png": _png(pixels(alter(_image(train.pixels(i, 100)))))
                        for i in chosen
                    }
                    more = _found_again(train, known[0], planted)
                    hits, false, reported = hits + more[0], false + more[1], reported + more[2]
                good &= judge(kind, hits / (3 * len(chosen)), least)
        own = _between_splits(train, test, known)
        share = false / max(1, reported)
        good &= judge("false pairs, of all that are reported", share, 0.01, most=True)
        print(f"    pairs of the data themselves: {len(own)}")
        for copy in own[:3]:
            names = train.name(copy.first[1]), test.name(copy.second[1])
            print(f"      {names[0]} = {names[1]} ({copy.residual:.0%} differs)")
    return good


def _image(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def _found_again(train: Images, known: Survey, planted: dict[str, bytes]) -> tuple[int, int, int]:
    """(planted images found as the copy of their original, wrong pairs, all pairs) where a test
    split holds the planted ones alone."""
    added = EncodedImages(MemorySource(planted), Strings.of(planted))
    found = _between_splits(train, added, (known, survey(added, Unified(32, 3, "squash", 100))))
    right, wrong = set(), 0
    for copy in found:
        key = added.key(copy.second[1])
        if int(key.strip("e.png").rpartition("-")[2]) == copy.first[1]:
            right.add(key)
        else:
            wrong += 1
    return len(right), wrong, len(found)


def _between_splits(train: Images, test: Images, known: tuple[Survey, Survey]) -> list[Copy]:
    splits = {"train": train, "test": test}
    zeros = {n: Split(i, blank(len(i))) for n, i in splits.items()}
    opened = Opened("", ("a",), "labels", zeros, dict.fromkeys(zeros, "given"))
    return copies_across(opened, dict(zip(splits, known, strict=True)), 100)


def noise(_: Path) -> bool:
    """5 % wrong labels planted in Fashion-MNIST's 60,000 training images."""
    if not (DATA / "fashion-mnist").exists():
        return _absent()
    from striate.audit.crossfit import SIDE, crossfit
    from striate.audit.labels import doubtful_labels

    part = open_source(DATA / "fashion-mnist").parts["train"]
    how = Unified(SIDE, 1, "squash", 100)
    pixels = np.stack([how.load(part.images, i) for i in range(len(part))])
    wrong = RNG.choice(len(part), len(part) // 20, replace=False)
    labels = part.targets.array.copy()
    labels[wrong] = (labels[wrong] + RNG.integers(1, 10, len(wrong))) % 10
    started = time.perf_counter()
    judged = crossfit({"train": (pixels, labels)}, 10)["train"]
    found = doubtful_labels(labels, judged.probabilities)
    seconds = time.perf_counter() - started
    hits = np.isin(found, wrong).sum()
    print(f"  {len(found):,} doubted, {hits:,} of {len(wrong):,} planted, {seconds:.0f} s")
    good = judge("recall", hits / len(wrong), 0.6)
    return judge("precision", hits / len(found), 0.5) and good


PARTS = {
    "jpeg": jpeg, "small": small, "memory": memory, "index": index, "audit": audit,
    "leakage": leakage, "noise": noise,
}  # fmt: skip


def _timed(work) -> float:  # type: ignore[no-untyped-def]
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _decode_only(encoded: list[bytes]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import simplejpeg

    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(simplejpeg.decode_jpeg, encoded):
            pass


def _jpegs(count: int) -> Iterator[bytes]:
    """Photographs resized to 500×375, or noise with shapes, about 45 kB each."""
    sources = []
    if (DATA / "ants-bees.zip").exists():
        images = open_pictures([DATA / "ants-bees.zip"])
        sources = [images.pixels(i, 100) for i in range(0, len(images), 2)]
    for number in range(count):
        if sources:
            pixels = sources[number % len(sources)]
            pixels = pixels.repeat(3, 2) if pixels.shape[2] == 1 else pixels
        else:
            pixels = RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        turned = Image.fromarray(np.roll(pixels, number, axis=1))
        buffer = io.BytesIO()
        turned.resize((500, 375)).save(buffer, "JPEG", quality=90)
        yield buffer.getvalue()


def _cifar() -> np.ndarray:
    path = DATA / "cifar10-jpeg.zip"
    if not path.exists():
        return RNG.integers(0, 256, (50_000, 32, 32, 3), dtype=np.uint8)
    images = open_source(path).parts["train"].images
    return np.stack([images.pixels(i, 1) for i in range(len(images))])


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _again(pixels: np.ndarray) -> bytes:
    """Re-encoded as JPEG of quality 75 to 95, half of them resized by 0.75 to 2."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if RNG.random() < 0.5:
        scale = RNG.uniform(0.75, 2)
        size = (max(8, round(image.width * scale)), max(8, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(RNG.integers(75, 96)))
    return buffer.getvalue()


def _absent() -> bool:
    print(f"  no data at {DATA}: set STRIATE_DATA")
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
