"""5,000 damaged files of every format and archive: no crash, no hang, every fault named (F7, F20).

    make chaos                                all
    python benchmarks/chaos.py 500 --seed 3   fewer, others

The files are read in processes of their own, so that a crash of a decoder is seen and counted.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from striate.core.errors import StriateError
from striate.data.images import UndecodableError
from striate.data.sources import open_source
from striate.data.sources.pictures import open_pictures

FORMATS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp",
           "TIFF": ".tif", "PPM": ".ppm"}  # fmt: skip
ARCHIVES = (".zip", ".tar", ".tar.gz")
SLOW = 5.0
_BATCH = 250


def main(count: int, seed: int) -> int:
    rng = np.random.default_rng(seed)
    totals: Counter[str] = Counter()
    slowest, unnamed = 0.0, []
    for start in range(0, count, _BATCH):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for number in range(start, min(count, start + _BATCH)):
                write_mutant(root, number, rng)
            before = tree_hash(root)
            answers, died = ask(root)
            totals["crashes"] += died
            totals["trees changed"] += tree_hash(root) != before
            for answer in answers:
                totals[answer["what"]] += 1
                slowest = max(slowest, answer["seconds"])
                totals["hangs"] += answer["seconds"] > SLOW
                if answer["what"] == "trace":
                    print("trace:", answer["name"], answer["text"])
                if answer["what"] == "refused" and answer["name"] not in answer["text"]:
                    unnamed.append(answer)
    print(f"{count:,} damaged files: {dict(totals)}; slowest {slowest:.2f} s")
    for answer in unnamed[:10]:
        print("not named:", answer)
    bad = totals["crashes"] + totals["hangs"] + totals["trees changed"] + totals["trace"]
    print("met" if not bad and not unnamed else "MISSED")
    return 1 if bad or unnamed else 0


def write_mutant(root: Path, number: int, rng: np.random.Generator) -> None:
    """A small picture or archive of three, damaged."""
    kinds = [*FORMATS.values(), *ARCHIVES]
    ending = kinds[number % len(kinds)]
    if ending in ARCHIVES:
        data = archive(ending, rng)
    else:
        form = next(f for f, e in FORMATS.items() if e == ending)
        data = encoded(form, rng)
    (root / f"{number:05d}{ending}").write_bytes(mutated(data, rng))


def encoded(form: str, rng: np.random.Generator) -> bytes:
    size = rng.integers(3, 60, 2)
    image = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    if form in ("PNG", "TIFF", "GIF") and rng.random() < 0.3:
        image = image.convert("P")
    options: dict[str, object] = {}
    if form == "JPEG":
        options = {"quality": int(rng.integers(20, 95)), "progressive": bool(rng.random() < 0.5)}
    if form == "TIFF":
        options = {"compression": str(rng.choice(["raw", "tiff_lzw", "tiff_deflate", "jpeg"]))}
        image = image.convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def archive(ending: str, rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    members = {f"{c}/{i}.png": encoded("PNG", rng) for c in "ab" for i in range(3)}
    if ending == ".zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in members.items():
                file.writestr(name, data)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz" if ending == ".tar.gz" else "w") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut off, some bytes or bits changed, a piece removed, doubled, or filled with one value."""
    piece = bytearray(data)
    at, size = int(rng.integers(0, len(piece))), int(rng.integers(1, 64))
    kind = rng.integers(6)
    if kind == 0:
        return bytes(piece[:at])
    if kind == 1:
        for place in rng.integers(0, len(piece), int(rng.integers(1, 10))):
            piece[place] = rng.integers(256)
    elif kind == 2:
        piece[at] ^= 1 << int(rng.integers(8))
    elif kind == 3:
        del piece[at : at + size]
    elif kind == 4:
        piece[at:at] = piece[at : at + size]
    else:
        piece[at : at + size] = bytes([int(rng.choice([0, 255]))]) * len(piece[at : at + size])
    return bytes(piece)


def ask(root: Path) -> tuple[list[dict[str, object]], int]:
    """What reading each file gave, and how many processes died; the file that kills is left out of
    the next try."""
    answers: dict[str, dict[str, object]] = {}
    died = 0
    while len(answers) < len(list(root.iterdir())):
        command = [sys.executable, __file__, "--child", str(root), json.dumps(sorted(answers))]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            lines, code = done.stdout.splitlines(), done.returncode
        except subprocess.TimeoutExpired as late:
            lines, code = (late.stdout or b"").decode().splitlines(), -1
        for line in lines:
            answer = json.loads(line)
            answers[answer["name"]] = answer
        if code != 0:
            died += 1
            victim = next(p.name for p in sorted(root.iterdir()) if p.name not in answers)
            print(f"the reader died ({code}) at {victim}")
            answers[victim] = {"name": victim, "what": "crash", "seconds": 0.0, "text": ""}
    return list(answers.values()), died


def child(root: Path, done: set[str]) -> None:
    """Read every file that is not done; a line of JSON for each."""
    for path in sorted(root.iterdir()):
        if path.name in done:
            continue
        started = time.perf_counter()
        what, text = read_one(path)
        seconds = time.perf_counter() - started
        answer = {"name": path.name, "what": what, "seconds": seconds, "text": text}
        print(json.dumps(answer), flush=True)


def read_one(path: Path) -> tuple[str, str]:
    """("decodes" or "refused" or "trace", the message with the file that it names)."""
    try:
        if path.suffix in FORMATS.values():
            images = open_pictures([path])
        else:
            images = next(iter(open_source(path).parts.values())).images
    except StriateError as error:
        return "refused", str(error)
    except Exception as error:
        return "trace", repr(error)
    for index in range(len(images)):
        try:
            pixels = images.examine(index, 100.0, 32).pixels
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
        except UndecodableError as error:
            return "refused", f"{images.name(index)}: {error}"
        except Exception as error:
            return "trace", repr(error)
    return "decodes", ""


def tree_hash(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), set(json.loads(sys.argv[3])))
        sys.exit(0)
    numbers = [int(text) for text in sys.argv[1:] if text.isdigit()]
    chosen = int(sys.argv[sys.argv.index("--seed") + 1]) if "--seed" in sys.argv else 0
    sys.exit(main(numbers[0] if numbers else 5_000, chosen))
