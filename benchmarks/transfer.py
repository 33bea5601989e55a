"""A start from trained weights, with defaults: scores, wall time, speed, the advisor's choices.

    python benchmarks/transfer.py sets [NAME ...]   five real sets, seeds 0 to 2 (half an hour)
    python benchmarks/transfer.py scratch           the same from scratch, seed 0
    python benchmarks/transfer.py regimes           gently and thoroughly, on two sets
    python benchmarks/transfer.py speed             ratios to plain torch and timm, in one run
    python benchmarks/transfer.py advisor           12 problems: each way trained whole (hours)
    python benchmarks/transfer.py stages            which stage the cheap signals would choose
    python benchmarks/transfer.py peers             timm's network fine-tuned as its users do

Data from STRIATE_DATA (default ../shared/data); each training is a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from common import DATA, machine, verb

from striate.core.runtime import Runtime, choose_precision, keep_pages
from striate.models.frozen import Prefix, Tail, frozen_modules
from striate.models.network import Network
from striate.models.stages import set_frozen, stages_of
from striate.models.zoo import build

SETS = {
    # name: (source, wanted accuracy, seconds)
    "ants-bees": ("ants-bees.zip", 0.945, 90),
    "tiny-imagenet-7": ("tinyin-cifar7.zip", 0.94, 240),
    "sign-digits": ("sign-digits.zip", 0.99, 200),
    "pacs-photo": ("pacs3.zip#photo", 0.97, 90),
    "pacs-cartoon": ("pacs3.zip#cartoon", 0.85, 90),
}
SEEDS = (0, 1, 2)
WAYS = {
    "head": ("--freeze", "backbone"),
    "last": ("--freeze", 2),
    "all": ("--freeze", 0),
    "scratch": ("--weights", "none"),
}
FEW = (5, 20, 0)
"""Images a class of the advisor's problems; 0: all."""


def sets(names: list[str]) -> int:
    """The table of the issue: mean accuracy and slowest wall time over the seeds."""
    print("| data | test accuracy, seeds 0–2 | mean | wanted | slowest, s | limit | weights |")
    print("|---|---|---|---|---|---|---|", flush=True)
    missed = 0
    for name in names or SETS:
        source, wanted, limit = SETS[name]
        found, walls, used = [], [], ""
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as folder:
                run = Path(folder) / "run"
                said, wall, _ = verb("train", DATA / source, "--run", run, "--seed", seed)
                found.append(said["test"]["accuracy"])
                walls.append(wall)
                used = json.loads((run / "resolved.json").read_text())["model.weights"]["value"]
        mean = statistics.mean(found)
        missed += mean < wanted or max(walls) > limit
        each = " ".join(f"{value:.4f}" for value in found)
        print(
            f"| {name} | {each} | {mean:.4f} | {wanted} | {max(walls):.0f} | {limit} | {used} |",
            flush=True,
        )
    return missed


def scratch(names: list[str]) -> int:
    """What a network that starts anew reaches with defaults."""
    print("| data | test accuracy | wall s |\n|---|---|---|", flush=True)
    for name in names or SETS:
        with tempfile.TemporaryDirectory() as folder:
            said, wall, _ = verb(
                "train", DATA / SETS[name][0], "--run", Path(folder) / "run", "--weights", "none"
            )
        print(f"| {name} | {said['test']['accuracy']:.4f} | {wall:.0f} |", flush=True)
    return 0


def regimes(names: list[str]) -> int:
    """What weights reach when they change gently and thoroughly (`striate.plan.start_test`)."""
    from striate.plan.start_test import REGIMES

    print("| data | " + " | ".join(REGIMES) + " |\n|---|" + "---|" * len(REGIMES), flush=True)
    for name in names or ("pacs-photo", "sign-digits"):
        found = []
        for knobs in REGIMES.values():
            flags = [part for knob, value in knobs.items()
                     for part in (f"--{knob.replace('_', '-')}", value)]  # fmt: skip
            with tempfile.TemporaryDirectory() as folder:
                said, _, _ = verb("train", DATA / SETS[name][0], "--run", Path(folder) / "run",
                                  *flags)  # fmt: skip
            found.append(said["test"]["accuracy"])
        print(f"| {name} | " + " | ".join(f"{score:.4f}" for score in found) + " |", flush=True)
    return 0


def problems(folder: Path) -> dict[str, Path | str]:
    """name → source: sets cut to 5 and 20 training images a class, and whole; 12 in all."""
    found: dict[str, Path | str] = {}
    for name in ("ants-bees", "sign-digits", "pacs-photo", "pacs-cartoon"):
        for count in FEW:
            key = f"{name} {count or 'all'}"
            found[key] = _cut(name, count, folder / key.replace(" ", "-")) if count else str(
                DATA / SETS[name][0]
            )  # fmt: skip
    return found


def _cut(name: str, count: int, place: Path) -> Path:
    """A folder tree with `count` training images a class; other splits as they are. Sets without
    splits of their own are cut a quarter for the test."""
    source, _, part = str(DATA / SETS[name][0]).partition("#")
    with zipfile.ZipFile(source) as archive:
        by_class: dict[tuple[str, str], list[str]] = {}
        for entry in sorted(archive.namelist()):
            pieces = [p for p in entry.split("/") if p]
            if part and part not in pieces:
                continue
            if not entry.lower().endswith((".jpg", ".jpeg", ".png")):
                continue
            split = next((p for p in pieces if p in ("train", "val", "test")), "all")
            by_class.setdefault((split, pieces[-2]), []).append(entry)
        rng = np.random.default_rng(0)
        for (split, label), entries in sorted(by_class.items()):
            order = [entries[i] for i in rng.permutation(len(entries))]
            if split == "all":
                cut = max(1, len(order) // 4)
                chosen = {"test": order[:cut], "train": order[cut:][:count]}
            else:
                chosen = {split: order[:count] if split == "train" else order}
            for where, members in chosen.items():
                target = place / ("test" if where == "val" else where) / label
                target.mkdir(parents=True, exist_ok=True)
                for entry in members:
                    (target / Path(entry).name).write_bytes(archive.read(entry))
    return place


def advisor(names: list[str]) -> int:
    """Each problem: what each way reaches trained whole, what the advisor takes and expects."""
    print("| problem | head | last | all | scratch | advised | regret | expected | holds | says |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    near = held = count = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, source in problems(Path(folder)).items():
            if names and name not in names:
                continue
            advice, _, _ = verb("transfer", source, "--advise-only", "--minutes", 3)
            truth = {}
            for way, flags in WAYS.items():
                run = Path(folder) / "run"
                started = () if way == "scratch" else ("--weights", "imagenet")
                said, _, _ = verb("train", source, "--run", run, *started, *flags,
                                  "--report.no-write")  # fmt: skip
                truth[way] = said["test"]["accuracy"]
                shutil.rmtree(run)
            regret = max(truth.values()) - truth[advice["way"]]
            low, high = advice["interval"]
            holds = low <= truth[advice["way"]] <= high
            near, held, count = near + (regret <= 0.01), held + holds, count + 1
            print(
                f"| {name} | " + " | ".join(f"{truth[way]:.3f}" for way in WAYS)
                + f" | {advice['way']} | {regret:.3f} | {advice['predicted']:.3f} ({low:.3f} to "
                f"{high:.3f}) | {'yes' if holds else 'no'} | {advice['finding']['verdict']} |",
                flush=True,
            )  # fmt: skip
    print(f"\nwithin a point of the best: {near} of {count}; the interval held: {held} of {count}")
    return int(near < 10 or held < 11)


def stages(names: list[str]) -> int:
    """For each set: the stage that cross-validation, LogME and neighbours choose, and what its
    linear classifier loses on test images against the best stage's."""
    from striate.core import recipe_io
    from striate.core.recipe import Recipe
    from striate.models.linear import fitted
    from striate.plan.head import stage_features
    from striate.plan.prepare import prepare
    from striate.training.log import drained
    from striate.transfer.probe import probe_stages

    print("| data | test accuracy by stage | cross-validation | LogME | neighbours |")
    print("|---|---|---|---|---|", flush=True)
    lost: dict[str, list[float]] = {"score": [], "logme": [], "neighbours": []}
    for name in names or SETS:
        source = str(DATA / SETS[name][0])
        knobs = {
            "data.source": source, "model.weights": "imagenet", "model.head": "random",
            "model.kept_views": 0, "augment.crop": "none", "augment.flip": False,
            "data.workers": 1, "budget.epochs": 1, "data.check": "off",
        }  # fmt: skip
        prepared, _ = drained(prepare(recipe_io.with_overrides(Recipe(), knobs), source, 0.0))
        net, shape = prepared.fresh().net, prepared.settled.architecture
        probes = list(probe_stages(prepared, net, pairs=False))
        features, truth = {}, {}
        for split in ("train", "test"):
            store = prepared.data.stores[split]
            ids = np.arange(len(store))[:: max(1, len(store) // 2000)]
            features[split] = stage_features(net, store, ids, shape, prepared.runtime)
            targets = prepared.data.dataset.splits[split].targets.take(ids)
            truth[split] = prepared.task.linear_truth(targets)
        classes = len(prepared.data.dataset.classes)
        real = {
            stage: np.mean(
                fitted(x, truth["train"], classes).scores(features["test"][stage]).argmax(axis=1)
                == truth["test"]
            )
            for stage, x in features["train"].items()
        }
        cells = []
        for signal, losses in lost.items():
            chosen = max(probes, key=lambda probe: getattr(probe, signal)).stages[0]
            losses.append(max(real.values()) - real[chosen])
            cells.append(f"{chosen}, −{losses[-1]:.3f}")
        figures = " ".join(f"{value:.3f}" for value in real.values())
        print(f"| {name} | {figures} | " + " | ".join(cells) + " |", flush=True)
    worst = ", ".join(f"{signal} {max(losses):.3f}" for signal, losses in lost.items())
    print(f"\nthe largest regret: {worst}")
    return 0


def speed(_: list[str]) -> int:
    """Ratios in one run: features, fine-tuning, an epoch of the head alone."""
    keep_pages()
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    plain = timm.create_model("tf_efficientnet_lite0", num_classes=1000).eval()
    ours = build("efficientnet_lite0", num_classes=1000, channels=3, image_size=224)
    net = Network(ours, torch.full((3,), 127.5), torch.full((3,), 1 / 127.5)).eval()
    low = choose_precision(torch.device("cpu"))[0] == "bfloat16"
    dtype = torch.bfloat16 if low else torch.float32
    images = torch.from_numpy(rng.integers(0, 256, (64, 224, 224, 3), dtype=np.uint8))

    def eager() -> None:
        with torch.no_grad():
            plain.forward_features((images.float() / 127.5 - 1).permute(0, 3, 1, 2).contiguous())

    body = stages_of(ours, 3, 224)[:-1]
    prefix = Prefix(net, [m for stage in body for m in stage.modules], dtype)
    a, b = _rates([(eager, 64), (lambda: prefix(images), 64)])
    print(f"features at 224 pixels: {b:.0f} images/s, plain float32 {a:.0f}: {b / a:.2f} times")

    c, d = _tuning(dtype)
    _head()
    return int(b < 3 * a or d < 4 * c)


def _tuning(dtype: torch.dtype) -> tuple[float, float]:
    """(timm's, our images a second) of fine-tuning with three stages frozen at 160 pixels."""
    rng = np.random.default_rng(0)
    small = torch.from_numpy(rng.integers(0, 256, (32, 160, 160, 3), dtype=np.uint8))
    truth = torch.from_numpy(rng.integers(0, 10, 32))
    theirs = timm.create_model("tf_efficientnet_lite0", num_classes=10)
    for part in (theirs.conv_stem, theirs.bn1, *theirs.blocks[:3]):
        for parameter in part.parameters():
            parameter.requires_grad = False
    theirs.train()
    learning = [p for p in theirs.parameters() if p.requires_grad]
    rule = torch.optim.AdamW(learning, 1e-3)

    def timm_step() -> None:
        x = (small.float() / 127.5 - 1).permute(0, 3, 1, 2).contiguous()
        loss = torch.nn.functional.cross_entropy(theirs(x), truth)
        rule.zero_grad()
        loss.backward()
        rule.step()

    own = build("efficientnet_lite0", num_classes=10, channels=3, image_size=160)
    tuned = Network(own, torch.full((3,), 127.5), torch.full((3,), 1 / 127.5))
    parts = stages_of(own, 3, 160)
    frozen = frozen_modules(own, parts, 3)
    set_frozen(own, frozen)
    cut, tail = Prefix(tuned, frozen, dtype), Tail(tuned, frozen)
    tail.train()
    own_rule = torch.optim.AdamW([p for p in tuned.parameters() if p.requires_grad], 1e-3)
    precision = "bfloat16" if dtype == torch.bfloat16 else "float32"
    runtime = Runtime(torch.device("cpu"), precision)

    def step(features: torch.Tensor) -> None:
        with runtime.autocast():
            loss = torch.nn.functional.cross_entropy(tail(features), truth)
        own_rule.zero_grad()
        loss.backward()
        own_rule.step()

    kept = cut(small)
    c, d, e = _rates([
        (timm_step, 32), (lambda: step(cut(small)), 32), (lambda: step(kept), 32),
    ])  # fmt: skip
    print(f"fine-tuning with three stages frozen at 160 pixels: {d:.0f} images/s, with the frozen "
          f"outputs kept {e:.0f}; timm {c:.0f}: {d / c:.2f} and {e / c:.2f} times")  # fmt: skip
    return c, d


def _head() -> None:
    """An epoch of training the head alone on kept features."""
    rng = np.random.default_rng(0)
    head = torch.nn.Linear(1280, 10)
    rows = torch.from_numpy(rng.normal(size=(5000, 1280)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(0, 10, 5000))
    last = torch.optim.AdamW(head.parameters(), 1e-3)
    began = time.perf_counter()
    for start in range(0, 5000, 32):
        loss = torch.nn.functional.cross_entropy(
            head(rows[start : start + 32]), labels[start : start + 32]
        )
        last.zero_grad()
        loss.backward()
        last.step()
    print(f"an epoch of the head alone, 5,000 kept images: {time.perf_counter() - began:.2f} s")


def _rates(what: list[tuple[Callable[[], None], int]]) -> list[float]:
    """Images a second of each, in turn, the best of four."""
    best = [0.0] * len(what)
    for turn in range(5):
        for i, (work, images) in enumerate(what):
            began = time.perf_counter()
            work()
            if turn:
                best[i] = max(best[i], images / (time.perf_counter() - began))
    return best


def peers(names: list[str]) -> int:
    """Ours beside timm's network in a plain loop and fastai's `fine_tune`, from the same weights.
    PEERS_PYTHON: an environment that has fastai and timm; without it timm alone, in ours."""
    from striate.api.zoo import show_weights

    python = os.environ.get("PEERS_PYTHON", sys.executable)
    modes = ("timm", "fastai") if "PEERS_PYTHON" in os.environ else ("timm",)
    print("| data | how | test accuracy, seeds 0–2 | mean | wall s, mean |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        weights, matching = show_weights("imagenet")
        net = timm_names()
        pairs = dict(matching.pairs)
        state = dict(zip(net, (weights.tensors[pairs[name]] for name in pairs), strict=True))
        torch.save(state, Path(folder) / "weights.pth")
        for name in names or SETS:
            place = _cut(name, 10**9, Path(folder) / name)
            ours: list[tuple[float, float]] = []
            for seed in SEEDS:
                said, wall, _ = verb(
                    "train", place, "--run", Path(folder) / f"{name}{seed}", "--seed", seed
                )
                ours.append((said["test"]["accuracy"], wall))
            _row(name, "Striate", ours)
            for mode in modes:
                found = []
                for seed in SEEDS:
                    script = Path(__file__).with_name("transfer_peers.py")
                    file = Path(folder) / "weights.pth"
                    command = [python, *map(str, (script, mode, place, file, seed))]
                    began = time.perf_counter()
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    said = json.loads(done.stdout.splitlines()[-1])
                    found.append((said["accuracy"], time.perf_counter() - began))
                _row(name, mode, found)
    return 0


def timm_names() -> list[str]:
    """The tensors of timm's network, in order."""
    return list(timm.create_model("tf_efficientnet_lite0", num_classes=1000).state_dict())


def _row(name: str, how: str, found: list[tuple[float, float]]) -> None:
    scores, walls = zip(*found, strict=True)
    each = " ".join(f"{score:.4f}" for score in scores)
    mean, wall = statistics.mean(scores), statistics.mean(walls)
    print(f"| {name} | {how} | {each} | {mean:.4f} | {wall:.0f} |", flush=True)


def main(argv: list[str]) -> int:
    parts = {
        "sets": sets, "scratch": scratch, "regimes": regimes, "speed": speed,
        "advisor": advisor, "stages": stages,
        "peers": peers,
    }  # fmt: skip
    if not argv or argv[0] not in parts:
        print(__doc__)
        return 2
    print(machine() + "\n", flush=True)
    return parts[argv[0]](argv[1:])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
