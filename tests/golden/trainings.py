"""Short trainings whose weights and scores must stay what they were, by the public surface alone.

    python tests/golden/trainings.py [CASE…]    run them with the code that `import striate` finds
    python tests/golden/trainings.py --record   run them with the recorded commit's code, and add
                                                this kind of processor to recorded.json

The answer is one JSON object: where the code is, the kind of processor, and for each case the
SHA-256 of the last weights, the scores, a few losses and what "auto" became. Equal bits need the
same kind of processor and the same versions, so recorded.json has a table for each kind.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # since Python 3.11.4
COMMIT = "967bbfc1272da41baedd606a4bce2c4e149e96a8"
"""The code whose behaviour is kept."""
TABLE = HERE / "recorded.json"
OLD_RUN = HERE / "old_run"
"""A run that the recorded code wrote and that was stopped half-way."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

KNOBS = {
    "seed": 7,
    "epochs": 2,
    "batch_size": 16,
    "image_size": 16,
    "augment.flip": True,
    "data.workers": 1,
    "data.memory_mb": 100,
    "device.device": "cpu",
    "device.precision": "float32",
    "device.threads": 1,
    "report.write": False,
}
"""What every case has in common: nothing is left to a measurement."""
SPEC = "conv 3x3 8 pad 1, batchnorm, relu, pool 2, conv 3x3 8, relu, dropout 0.3, fc classes"
INTERRUPTED = {"epochs": 3, "model.width": 0.25, "regularise.dropout": 0.2}
"""The knobs of the training that is interrupted."""
MEASURED = ("data.memory_mb", "data.cache_mb", "data.workers", "device.micro_batch")
STRIPES = ("across", "along", "checks")


# ---- pictures ----------------------------------------------------------------------------------


def picture(stripes, number, height=18, width=16):
    """Noisy stripes that no other call has: uint8 (height, width, 3)."""
    import numpy as np

    rng = np.random.default_rng([STRIPES.index(stripes), number])
    y, x = np.indices((height, width)) // 3 % 2
    pattern = {"across": y, "along": x, "checks": (x + y) % 2}[stripes]
    noise = rng.integers(0, 150, (height, width, 3))
    return (pattern[..., None] * rng.integers(40, 100, 3) + noise).astype(np.uint8)


def write_picture(path, stripes, number, **sides):
    """One picture as a file, its folders made."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(stripes, number, **sides)).save(path)


def class_folders(place, each=24):
    """A folder for each class, from which training makes its own splits; two sizes of images."""
    root = place / "stripes"
    for stripes in STRIPES:
        for i in range(each):
            write_picture(root / stripes / f"{i}.png", stripes, i, width=16 + i % 2 * 8)
    return root


def split_folders(place, ending=".png", each=(16, 6, 6), **sides):
    """Folders for training, validation and test with a folder for each class inside."""
    root, number = place / "split", 0
    for split, count in zip(("train", "val", "test"), each, strict=True):
        for stripes in STRIPES:
            for i in range(count):
                number += 1
                path = root / split / stripes / f"{i}{ending}"
                write_picture(path, stripes, number, **sides)
    return root


def table(place, each=24):
    """A CSV beside its images: a class, several labels, a patient and a weight for each image."""
    lines = ["path,label,patient,worth"]
    for stripes in STRIPES:
        for i in range(each):
            name = f"images/{stripes}-{i}.png"
            write_picture(place / name, stripes, i)
            lines.append(f"{name},{stripes},p{i % 8},{1 + i % 3}")
    path = place / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def table_of_several_labels(place, each=24):
    """A CSV whose images have one or two labels."""
    labels = {"across": "across", "along": "along", "checks": "across;along"}
    lines = ["path,label"]
    for stripes in STRIPES:
        for i in range(each):
            name = f"images/{stripes}-{i}.png"
            write_picture(place / name, stripes, i)
            lines.append(f"{name},{labels[stripes]}{';odd' if i % 2 else ''}")
    path = place / "several.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def old_pictures(place):
    """What the old run was trained on. BMP files have the same bytes whatever compresses PNGs, and
    a run compares the bytes of files."""
    return split_folders(place, ".bmp", (8, 4, 4), height=8, width=8)


# ---- cases -------------------------------------------------------------------------------------


def fastnet_selective(place):
    """The default network, rule and sampler, which is selective from the third epoch on, with the
    probe that decides whether to flip."""
    return trained(class_folders(place), place, epochs=4, **{"augment.flip": "auto"})


def fastnet_bfloat16(place):
    """The default network in the precision that most processors choose by themselves."""
    return trained(split_folders(place), place, **{"device.precision": "bfloat16"})


def lenet_float32(place):
    """A plain network with many augmentations and a cosine schedule."""
    return trained(
        split_folders(place), place, model="lenet", epochs=3, lr=0.1,
        **{
            "optim.rule": "momentum", "schedule.name": "cosine", "augment.policy": "rand",
            "augment.rotate": 10.0, "augment.brightness": 0.2, "augment.hue": 0.1,
            "augment.cutout": 4, "augment.random_erasing": 0.3,
        },
    )  # fmt: skip


def resnet18_mixup(place):
    """A network of the zoo with the stem for small images; images are blended and cut."""
    return trained(
        split_folders(place, each=(8, 4, 4)), place, model="resnet18", batch_size=8,
        **{"model.small_stem": True, "augment.mixup": 0.3, "augment.cutmix": 1.0},
    )  # fmt: skip


def one_line_dropout(place):
    """A network on one line with dropout, adamw and random resized crops."""
    return trained(
        class_folders(place), place, model=SPEC, lr=0.01, epochs=3,
        **{"optim.rule": "adamw", "augment.crop": "resized"},
    )  # fmt: skip


def several_labels(place):
    """Several labels an image, from a CSV."""
    return trained(table_of_several_labels(place), place, model=SPEC)


def moving_average(place):
    """An exponential moving average of the weights, with rmsprop and a schedule of steps."""
    return trained(
        split_folders(place), place, model=SPEC, epochs=3, lr=0.003,
        **{
            "regularise.average": "ema", "regularise.average_decay": 0.8, "optim.rule": "rmsprop",
            "schedule.name": "step", "schedule.step_epochs": 1.0,
        },
    )  # fmt: skip


def weighted_sampler(place):
    """Images drawn by the weights in a column."""
    return trained(
        table(place), place, model="lenet", lr=0.1,
        **{"data.sampler": "weighted", "data.weight_by": "worth"},
    )  # fmt: skip


def hard_sampler(place):
    """Images drawn by their last loss, from the third epoch on, in parts of batches."""
    return trained(
        class_folders(place), place, model=SPEC, epochs=4,
        **{"data.sampler": "hard", "device.micro_batch": 8, "augment.flip": False},
    )  # fmt: skip


def regularised(place):
    """Hinge loss, balanced classes, whitened colours, and every regulariser at once."""
    return trained(
        class_folders(place), place, model="lenet",
        **{
            "loss.name": "hinge", "data.sampler": "balanced", "data.prepare": "whiten",
            "regularise.l1": 1e-4, "regularise.l2": 1e-3, "regularise.max_norm": 3.0,
            "optim.clip_norm": 1.0, "model.initialiser": "he",
        },
    )  # fmt: skip


def larger_jpegs(place):
    """JPEGs that are larger than the input and not square, with black borders."""
    data = split_folders(place, ".jpg", height=50, width=70)
    return trained(data, place, model=SPEC, **{"data.resize": "pad", "augment.crop": "none"})


def grey_arrays(place):
    """Grey images in memory, without files, with the mean image taken off."""
    import numpy as np

    labels = np.arange(72) % 3
    images = np.stack([picture(STRIPES[k], i)[:16, :, 0] for i, k in enumerate(labels)])
    return trained((images, labels), place, **{"data.prepare": "mean_image"})


def shards(place):
    """Images from tar shards that the command line writes."""
    data, out = class_folders(place), place / "shards"
    striate_command(place, "data", "shard", data, out, "--size", "20KB")
    return trained(out, place, model=SPEC)


def groups_and_folds(place):
    """Three folds that keep each patient whole."""
    import striate

    data, run = table(place), place / "run"
    knobs = {**KNOBS, "model": "lenet", "lr": 0.1, "folds": 3, "group_by": "patient"}
    found = striate.cross_validate(data, run=run, **knobs)
    folds = {path.name: answer(striate.Run(path)) for path in sorted(run.glob("fold-*"))}
    scores = {"mean": found.mean, **{name: fold["scores"] for name, fold in folds.items()}}
    weights = hashlib.sha256("".join(fold["weights"] for fold in folds.values()).encode())
    last = folds["fold-3"]
    return {**last, "weights": weights.hexdigest(), "scores": scores}


def two_processes(place):
    """Two processes that share every batch, started from the command line."""
    import striate

    knobs = {**KNOBS, "model": "lenet", "lr": 0.1, "augment.mixup": 0.2}
    del knobs["report.write"]  # it has another form there
    run = place / "run"
    words = ("--run", run, "--procs", 2, *flags(knobs))
    striate_command(place, "train", split_folders(place), *words)
    return answer(striate.Run(run))


def uninterrupted(place):
    """The training that `resumed` interrupts."""
    return trained(class_folders(place), place, **INTERRUPTED)


def resumed(place):
    """Stopped in the middle of its second epoch and resumed: the same bits as `uninterrupted`."""
    import striate

    data, run = class_folders(place), place / "run"
    with contextlib.closing(striate.stream(data, run=run, **KNOBS | INTERRUPTED)) as records:
        for record in records:
            if type(record).__name__ == "Step" and record.step == 5:
                break
    return answer(striate.resume(run))


def old_run(place):
    """The committed run of the recorded code, resumed to its end; its data are somewhere else."""
    import striate

    run = place / "run"
    shutil.copytree(OLD_RUN, run)
    return answer(striate.resume(run, data=str(old_pictures(place))))


CASES = {
    case.__name__: case
    for case in (
        fastnet_selective, fastnet_bfloat16, lenet_float32, resnet18_mixup, one_line_dropout,
        several_labels, moving_average, weighted_sampler, hard_sampler, regularised,
        larger_jpegs, grey_arrays, shards, groups_and_folds, two_processes, uninterrupted,
        resumed, old_run,
    )
}  # fmt: skip


def trained(data, place, **knobs):
    """The answer of one training."""
    import striate

    return answer(striate.train(data, run=place / "run", **{**KNOBS, **knobs}))


def answer(run):
    """What is kept of a finished run: last weights, scores, some losses, what "auto" became."""
    last = max((Path(run.path) / "checkpoints").glob("step-*/model.safetensors"))
    losses = [record.loss for record in run.records() if type(record).__name__ == "Step"]
    done = run.finished
    return {
        "weights": hashlib.sha256(last.read_bytes()).hexdigest(),
        "scores": {split: getattr(done, split) for split in ("train", "val", "test")},
        "losses": {str(step): losses[step - 1] for step in (1, 2, 3, len(losses))},
        "decided": {
            knob: made["value"]
            for knob, made in sorted(run.read_json("resolved.json").items())
            if knob not in MEASURED
        },
    }


def striate_command(place, *words):
    """Run the command line in a process of its own. RuntimeError with what it said if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "striate", *map(str, words)],
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr)


def flags(knobs):
    """Knobs as the command line has them."""
    pairs = ((f"--{name.replace('_', '-')}", str(value)) for name, value in knobs.items())
    return [word for pair in pairs for word in pair]


# ---- which code, which processor ---------------------------------------------------------------


def kind():
    """What equal bits need: the versions that compute, and the kind of processor."""
    import torch

    known = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            known.setdefault(name.strip(), value.strip())
    name = known.get("model name") or platform.processor()
    model = f"{name} family {known.get('cpu family', '?')} model {known.get('model', '?')}"
    has = known.get("flags", "").split()
    extras = [f"{e} {'yes' if e in has else 'no'}" for e in ("amx_tile", "avx512_bf16")]
    others = [f"{p} {metadata.version(p)}" for p in ("numpy", "pillow", "simplejpeg", "scipy")]
    versions = (f"torch {torch.__version__}", *others)
    capability = torch.backends.cpu.get_cpu_capability()
    return ", ".join((*versions, platform.machine(), capability, model, *extras))


def all_answers(names):
    """Every case with the code that `import striate` finds. A case that fails has an error."""
    import striate

    found = {}
    for name in names:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                found[name] = CASES[name](Path(folder))
            except Exception as error:  # the other cases are still wanted
                found[name] = {"error": f"{type(error).__name__}: {error}"}
        sys.stderr.write(f"{name}: {time.perf_counter() - began:.1f} s\n")
    return {"code": str(Path(striate.__file__).resolve()), "kind": kind(), "cases": found}


def answers_of(source, names=()):
    """Every case with the package in `source`, in a process of its own. RuntimeError where that
    fails, or where other code answers."""
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(source)}
    done = subprocess.run(
        [sys.executable, str(HERE / "trainings.py"), *names],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    if not Path(found["code"]).is_relative_to(Path(source).resolve()):
        raise RuntimeError(f"the code was {found['code']}, not that in {source}")
    return found


def recorded_answers():
    """Every case with the recorded commit's code. LookupError where the commit is not to be had."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", COMMIT, "src"]
    try:
        done = subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise LookupError(f"commit {COMMIT} is not to be had (a shallow clone?): {error}") from None
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(folder, **SAFELY)
        found = answers_of(Path(folder) / "src")
    faults = {name: case["error"] for name, case in found["cases"].items() if "error" in case}
    if faults:
        raise RuntimeError(json.dumps(faults, indent=1))
    return found


def load_table():
    """{kind of processor: {case: answer}}"""
    return json.loads(TABLE.read_text()) if TABLE.exists() else {}


def record():
    """Add this kind of processor to the table, or write it anew."""
    found = recorded_answers()
    rows = {**load_table(), found["kind"]: found["cases"]}
    TABLE.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")


def main(arguments):
    """Run or record."""
    if arguments == ["--record"]:
        record()
        return
    os.environ.update(ONE_THREAD)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["STRIATE_CACHE"] = cache
        sys.stdout.write(json.dumps(all_answers(arguments or CASES)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
