"""What a run keeps beside its records: recipe, decisions, data set, scores, predictions."""

from __future__ import annotations

import gzip
from dataclasses import asdict
from pathlib import Path
from typing import Any

from striate.core import recipe_io
from striate.core.errors import RunError
from striate.core.files import write_atomically, write_json
from striate.core.recipe import Recipe
from striate.core.run import RunDirectory
from striate.core.strict_json import finite
from striate.plan.data import PreparedData
from striate.tasks.evaluation import Evaluation
from striate.tasks.plain import figures_json, plain_row

EXCLUDED, CALIBRATION, COST = "excluded.csv", "calibration.json", "cost.json"
WEIGHTS = "weights.json"
ADVICE = "advice.json"
"""The card of the weights that a run started from, and which tensor came from which."""


def write_setup(
    directory: RunDirectory, data: PreparedData, recipe: Recipe, made: dict[str, Any]
) -> None:
    """recipe.yaml (repeats the run), resolved.json, dataset.json, images.csv.gz."""
    dataset = data.dataset
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
            "images_fingerprint": data.whole,
            "classes": list(dataset.classes),
            **dataset.splits["train"].targets.facts(),
            "splits": {
                name: {
                    "images": len(split),
                    "from": dataset.splits_from[name],
                    "per_class": dataset.counts(name),
                    "fingerprint": data.fingerprints[name],
                }
                for name, split in dataset.splits.items()
            },
            "mean": data.statistics.mean.tolist(),
            "deviation": data.statistics.deviation.tolist(),
            "findings": [asdict(finding) for finding in data.findings],
        },
    )
    write_atomically(directory.path / "images.csv.gz", gzip.compress(_image_list(data), mtime=0))


def _image_list(data: PreparedData) -> bytes:
    """One row an image: split, the source's own split, name, classes, hash of the content."""
    lines = ["split,part,image,classes,blake2b"]
    for name, split in data.dataset.splits.items():
        survey, part = data.surveys[name], data.dataset.own_names[name]
        for i, content in enumerate(survey.contents):
            classes = ";".join(data.dataset.classes[n] for n in split.targets.of(i))
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
    write_calibration(directory, val)
    write_json(
        directory.path / "scores.json",
        {
            "checkpoint_step": step,
            "split": last.split,
            **{name: figures_json(evaluation) for name, evaluation in found.items()},
            "per_class": [plain_row(row) for row in last.per_class()],
            "confusions": last.worst_confusions(),
        },
    )
    write_atomically(directory.path / "predictions.csv", _predictions(last))


def write_calibration(directory: RunDirectory, val: Evaluation) -> None:
    """calibration.json, where the loss gives probabilities: the temperature, and what it does."""
    if not val.task.calibrates:
        return
    before, after = (found.calibration_error() for found in (val.calibrated(1.0), val))
    write_json(directory.path / CALIBRATION, finite({
        "temperature": val.temperature, "fitted_on": "val",
        "calibration_error": {"before": before, "after": after},
    }))  # fmt: skip


def _predictions(found: Evaluation) -> str:
    columns, rows = found.rows()
    lines = [",".join(map(_cell, row)) for row in (columns, *rows)]
    return "\n".join(lines) + "\n"
