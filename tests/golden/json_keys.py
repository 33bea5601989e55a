"""The keys of every `--json`, so that no program that reads them is surprised.

    python tests/golden/json_keys.py --record    writes json_keys.json anew

A key is a path: `test.per_class[].f1`. The items of a list are merged as `[]`, and keys that are
data as `*`. The evidence of findings is told rule by rule, as other rules may fire elsewhere.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLE = HERE / "json_keys.json"
CLASSES = ("blue", "green", "red")
SPEC = "conv 3x3 8 pad 1, batchnorm, relu, pool 2, conv 3x3 8, relu, gap, fc classes"
QUICK = ("--epochs", 2, "--batch-size", 8, "--image-size", 8, "--augment.flip", "False",
         "--device.precision", "float32", "--device.device", "cpu", "--data.workers", 1,
         "--device.threads", 1, "--report.no-write")  # fmt: skip
SMALL = ("--model", SPEC, "--lr", 0.05, *QUICK)
LISTED = ("--model", SPEC, "--optim.rule", "adam", *QUICK)
FINDING = ("--model", ", ".join(
    "conv 3x3 8 stride 2 pad 1, batchnorm, relu" for _ in range(5)) + ", fc classes",
           "--epochs", 2, "--lr", 0.01, "--optim.rule", "adam", "--device.precision", "float32",
           "--device.device", "cpu", "--data.workers", 1, "--device.threads", 1,
           "--report.no-write")  # fmt: skip
EXPLAINED = ("--units", 1, "--images", 6, "--only", "maps", "--only", "trust", "--only", "probes",
             "--only", "equivariance")  # fmt: skip

COMMANDS = {
    "train": ("train", "colours", "--run", "run", *SMALL),
    "train, several labels": ("train", "several.csv", "--run", "several", *LISTED),
    "train, folds": ("train", "colours", "--run", "folds", "--folds", 2, *SMALL),
    "resume": ("resume", "run"),
    "resume, more epochs": ("resume", "folds/fold-1", "--epochs", 3),
    "branch": ("branch", "run", "--epochs", 4, "--lr", 0.01, "--run", "branch"),
    "preflight": ("preflight", "colours", *SMALL),
    "lr": ("lr", "colours", *SMALL),
    "search": ("search", "colours", "--trials", 2, "--study", "study", "--space", "lr=0.01..0.1",
               *SMALL),
    "doctor": ("doctor", "run"),
    "doctor, curves": ("doctor", "curves.csv"),
    "train, too slowly": ("train", "colours", "--run", "slow", *SMALL, "--lr", 1e-6, "--epochs", 8),
    "doctor, try": ("doctor", "slow", "--try", "--top", 1, "--epochs", 1),
    "evaluate": ("evaluate", "run"),
    "evaluate, everything": (
        "evaluate", "run", "--compare", "run", "--slices", "--slice-by", "(.)", "--corruptions",
        "--recall", 0.9),
    "evaluate, several labels": ("evaluate", "several", "--precision", 0.5),
    "evaluate, other data": ("evaluate", "run", "colours/test"),
    "explain": ("explain", "run", *EXPLAINED),
    "map": ("map", "colours", "--method", "pca"),
    "map, run": ("map", "--run", "run", "--method", "pca"),
    "lab": ("lab", "O3"),
    "lab, all of them": ("lab",),
    "predict": ("predict", "run", "colours/test", "--top", 2),
    "predict, several labels": ("predict", "several", "colours/test", "--top", 2),
    "certify": ("certify", "run"),
    "certify, verify": ("certify", "run", "--verify", "--steps", 3),
    "export": ("export", "run", "--to", "torch"),
    "data check": ("data", "check", "colours", "--quick"),
    "data check, run": ("data", "check", "run"),
    "data augment": ("data", "augment", "colours", "--augment.flip", "True"),
    "probe": ("probe", "colours", "--weights", "run", *QUICK),
    "transfer": ("transfer", "colours", "--weights", "run", "--advise-only", "--minutes", 0.1,
                 *QUICK),
    "zoo": ("zoo",),
    "train, boxes": ("train", "boxes", "--run", "found", *FINDING),
    "evaluate, boxes": ("evaluate", "found"),
    "predict, boxes": ("predict", "found", "boxes/test0.png", "--least", 0.0),
    "ladder": ("ladder", "boxes", "--rungs", "window", *FINDING),
    "layers": ("layers", SPEC, "--input", "3x16x16", "--classes", 3),
    "gradcheck": ("gradcheck", "torch.nn:Linear(3, 2)", "--input", "4x3"),
    "textbook train": ("textbook", "train", "--epochs", 1),
}  # fmt: skip
"""A command of each verb that has `--json`, in an order in which each finds what it needs."""


def write_data(place):
    """Pictures of three colours in three splits, a table with several labels, and bad curves."""
    import numpy as np
    from PIL import Image

    rng, lines = np.random.default_rng(3), ["path,label,split"]
    for split, count in (("train", 12), ("val", 6), ("test", 6)):
        for number, colour in enumerate(CLASSES):
            folder = place / "colours" / split / colour
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 120, (16, 16, 3), dtype=np.uint8)
                pixels[..., 2 - number] += 60
                Image.fromarray(pixels).save(folder / f"{i}.png")
                extra = ";odd" if i % 2 else ""
                lines.append(f"colours/{split}/{colour}/{i}.png,{colour}{extra},{split}")
    (place / "boxes").mkdir()
    rows = ["path,left,top,right,bottom,class,split"]
    for split, count in (("train", 12), ("val", 6), ("test", 6)):
        for i in range(count):
            pixels, left = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8), int(rng.integers(30))
            pixels[10:40, left : left + 25, i % 2] = 220
            Image.fromarray(pixels).save(place / "boxes" / f"{split}{i}.png")
            rows.append(f"{split}{i}.png,{left},10,{left + 25},40,{CLASSES[i % 2]},{split}")
    (place / "boxes" / "boxes.csv").write_text("\n".join(rows) + "\n")
    (place / "several.csv").write_text("\n".join(lines) + "\n")
    curves = ["epoch,train_loss,val_loss,train_acc,val_acc"]
    curves += [
        f"{i},{1.1 / i},{0.9 + 0.1 * i},{1 - 0.5 / i},{0.55 - 0.01 * i}" for i in range(1, 21)
    ]
    (place / "curves.csv").write_text("\n".join(curves) + "\n")


DATA = ("not_judged", "splits", "knobs")
"""Objects whose keys are data: names of rules, of splits, of knobs."""


def keys(value, path=""):
    """The paths of all that is in a JSON value; an empty list ends in `[]`."""
    if isinstance(value, list):
        return set().union(*(keys(item, f"{path}[]") for item in value)) or {f"{path}[]"}
    if not isinstance(value, dict):
        return {path}
    found = set()
    for key, inner in value.items():
        below = f"{path}.{'*' if path in DATA else key}".lstrip(".")
        found |= {below} if key == "evidence" else keys(inner, below)
    return found


def evidence(value):
    """{rule and verdict: the keys of its evidence} of all findings in a JSON value."""
    found = {}
    if isinstance(value, dict) and "rule" in value and isinstance(value.get("evidence"), dict):
        found[f"{value['rule']}: {value.get('verdict')}"] = set(value["evidence"])
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            for rule, names in evidence(inner).items():
                found[rule] = found.get(rule, set()) | names
    return found


def differences(one, other):
    """Paths of `one` that `other` lacks; what is below a list that is empty there is not lacking,
    nor is an empty list that is filled there."""
    return sorted(
        path
        for path in set(one) - set(other)
        if not any(path.startswith(o) for o in other if o.endswith("[]"))
        and not (path.endswith("[]") and any(o.startswith(path) for o in other))
    )


def said_by(words):
    """The JSON object that a command prints last."""
    from striate.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*map(str, words), "--json"])
    if code not in (0, 1) or not out.getvalue():
        raise RuntimeError(f"{' '.join(map(str, words))}: {err.getvalue()}")
    return json.loads(out.getvalue().splitlines()[-1])


def all_keys(place):
    """{command: its keys, and the evidence of its findings}"""
    write_data(place)
    found = {}
    with contextlib.chdir(place):
        for name, words in COMMANDS.items():
            said = said_by(words)
            rules = {rule: sorted(names) for rule, names in sorted(evidence(said).items())}
            found[name] = {"keys": sorted(keys(said)), "evidence": rules}
    return found


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        raise SystemExit("python tests/golden/json_keys.py --record")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STRIATE_CACHE"] = str(Path(folder) / "cache")
        TABLE.write_text(json.dumps(all_keys(Path(folder)), indent=1) + "\n")
