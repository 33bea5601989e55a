"""What a run keeps beside its records: recipe, decisions, data set, scores, predictions."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from striate.core import recipe_io
from striate.core.errors import RunError
from striate.core.files import write_atomically, write_json
from striate.core.recipe import Recipe
from striate.core.run import RunDirectory
from striate.core.strict_json import finite
from striate.metrics.calibration import reliability
from striate.training.evaluate import Evaluation
from striate.training.materials import Materials

EXCLUDED, CALIBRATION, COST = "excluded.csv", "calibration.json", "cost.json"


def write_setup(
    directory: RunDirectory, found: Materials, recipe: Recipe, made: dict[str, Any]
) -> None:
    """recipe.yaml (repeats the run), resolved.json, dataset.json, images.csv.gz."""
    dataset = found.dataset
    write_atomically(directory.path / "recipe.yaml", recipe_io.to_yaml(recipe))
    if recipe.data.exclude:  # a person goes on editing the original
        text = Path(recipe.data.exclude).expanduser().read_bytes()
        write_atomically(directory.path / EXCLUDED, text)
    write_json(directory.path / "resolved.json", made)
    write_json(
        directory.path / "dataset.json",
        {
            "source": dataset.source,
            "source_path": recipe.data.source,
            "images_fingerprint": found.whole,
            "classes": list(dataset.classes),
            "multi_label": dataset.multi_label,
            "splits": {
                name: {
                    "images": len(split),
                    "from": dataset.splits_from[name],
                    "per_class": dataset.counts(name),
                    "fingerprint": found.fingerprints[name],
                }
                for name, split in dataset.splits.items()
            },
            "mean": found.statistics.mean.tolist(),
            "deviation": found.statistics.deviation.tolist(),
            "findings": [asdict(finding) for finding in found.findings],
        },
    )
    write_atomically(directory.path / "images.csv.gz", gzip.compress(_image_list(found), mtime=0))


def _image_list(found: Materials) -> bytes:
    """One row an image: split, the source's own split, name, classes, hash of the content."""
    lines = ["split,part,image,classes,blake2b"]
    for name, split in found.dataset.splits.items():
        survey, part = found.surveys[name], found.dataset.own_names[name]
        for i, content in enumerate(survey.contents):
            target = split.targets[i]
            numbers = np.flatnonzero(target) if target.ndim else [target]
            classes = ";".join(found.dataset.classes[int(n)] for n in numbers)
            known = content.tobytes().hex() if survey.seen[i] else ""
            lines.append(f"{name},{part},{_cell(split.images.key(i))},{_cell(classes)},{known}")
    return ("\n".join(lines) + "\n").encode()


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n\r') else text


def images_fingerprint(run: Path) -> str:
    """Hash of all images that a run's source had; "" where it is not known."""
    known: str = RunDirectory(run).read_json("dataset.json").get("images_fingerprint", "")
    return known


def refuse_other_images(here: str, other: Path, name: str) -> None:
    """Trainings that are compared must divide the same images. Raises RunError if the fingerprint
    `here` is not that of the run `other`; name: what the training is called."""
    there = images_fingerprint(other)
    if here and there and here != there:
        raise RunError(
            f"the images changed since {other} was trained: {name} could not be compared with it",
            f"`striate data check {other}` lists what changed. Restore the images, or begin anew "
            "in another folder.",
        )


def write_scores(directory: RunDirectory, found: dict[str, Evaluation], step: int) -> None:
    """calibration.json, scores.json, and predictions.csv of the test images (validation where there
    is no test)."""
    last, val = found.get("test", found["val"]), found["val"]
    single = last.targets.ndim == 1
    write_calibration(directory, val)
    write_json(
        directory.path / "scores.json",
        {
            "checkpoint_step": step,
            "split": last.split,
            **{name: figures_json(evaluation) for name, evaluation in found.items()},
            "per_class": [plain_row(row) for row in last.per_class()],
            "confusions": last.worst_confusions() if single else [],
        },
    )
    write_atomically(directory.path / "predictions.csv", _predictions(last))


def write_calibration(directory: RunDirectory, val: Evaluation) -> None:
    """calibration.json, where the loss gives probabilities: the temperature, and what it does."""
    if not val.task.calibrates:
        return
    before = reliability(replace(val, temperature=1.0).probabilities, val.targets).error
    after = reliability(val.probabilities, val.targets).error
    write_json(directory.path / CALIBRATION, finite({
        "temperature": val.temperature, "fitted_on": "val",
        "calibration_error": {"before": before, "after": after},
    }))  # fmt: skip


def figures_json(found: Evaluation) -> dict[str, Any]:
    """All scores with `intervals` and how they were made, as plain values."""
    figures = found.figures
    pairs = {k: v for k, v in figures.intervals.items() if np.isfinite(v).all()}
    return {
        **plain_row(figures.scores),
        "intervals": {k: list(pair) for k, pair in pairs.items()},
        "intervals_by": {k: figures.by[k] for k in pairs},
    }


def plain_row(row: Mapping[str, float | str]) -> dict[str, float | str | None]:
    """Scores as plain values; JSON has no NaN, so one that does not exist is null."""
    return {k: v if isinstance(v, str) or np.isfinite(v) else None for k, v in row.items()}


def _predictions(found: Evaluation) -> str:
    lines = ["image,true,predicted,probability"]
    for name, target, shares in zip(found.names, found.targets, found.probabilities, strict=True):
        if np.ndim(target):
            true = ";".join(c for c, t in zip(found.classes, target, strict=True) if t)
            picked = ";".join(c for c, p in zip(found.classes, shares, strict=True) if p > 0.5)
        else:
            true, picked = found.classes[target], found.classes[int(shares.argmax())]
        lines.append(f"{_cell(name)},{_cell(true)},{_cell(picked)},{shares.max():.4f}")
    return "\n".join(lines) + "\n"
