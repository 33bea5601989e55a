"""What a report says of a run, gathered from its folder and from its evaluated images."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import striate
from striate.core.errors import counted
from striate.core.recipe import Recipe
from striate.core.records import Epoch, Finished, Planned, Record, Step
from striate.core.run import PREFLIGHT, RunDirectory
from striate.core.strict_json import page
from striate.core.words import clock
from striate.data.augment import PARTNERS, Pipeline
from striate.data.prepare import measure
from striate.data.targets import facts_kept
from striate.explain.inspect import inspect
from striate.explain.inspection import Choice
from striate.explain.sample import Sample
from striate.plan.job import about_of
from striate.plan.keep import ADVICE, CALIBRATION, COST, WEIGHTS
from striate.plan.predictor import Predictor
from striate.plan.settled import strengths_of
from striate.report.explained import figures as explained
from striate.report.galleries import drawn
from striate.report.in_words import advice_in_words, in_words, origin_in_words
from striate.report.pictures import Cell, Figure, sheet, tile
from striate.report.run_facts import (
    DataFacts,
    Headline,
    ModelFacts,
    Overfit,
    RecipeFacts,
    RunFacts,
    UseFacts,
)
from striate.report.run_report import Facts, html, markdown
from striate.tasks.evaluation import Evaluation
from striate.tasks.plain import class_rows, figures_json

_CLASSES, _EACH, _VARIANTS = 12, 8, 8
_SIDE = 72
_NO_SCORES = ("class", "n", "intervals")
_RATES = 200
REPORTED = 1000
"""Training images that are looked at for samples."""
FORMS: dict[str, Callable[[Facts], str]] = {
    "html": html, "md": markdown,
    "json": lambda facts: page(facts.run.to_json()),
}  # fmt: skip


@dataclass(frozen=True)
class ReportInputs:
    """What a report needs beyond the run's files: the evaluated images, training images, and the
    network."""

    evaluation: Evaluation
    sample: Sample
    train: Sample
    predictor: Predictor


def facts_of(
    directory: RunDirectory,
    recipe: Recipe,
    inputs: ReportInputs | None,
    *,
    why: str = "",
    done: Finished | None = None,
) -> Facts:
    """All that a report says. Without images (`why`): only what the run's files know. done: the
    last record, where it is not in the log yet."""
    records = [*directory.records(), *([done] if done else [])]
    run = _from_files(directory, recipe, records)
    if inputs is None:
        note = f"without pictures and figures of classes: {why}"
        return Facts(replace(run, notes=[*run.notes, note]))
    return Facts(_from_evaluation(inputs.evaluation, run), _figures(inputs, recipe))


def _from_files(directory: RunDirectory, recipe: Recipe, records: Sequence[Record]) -> RunFacts:
    data, environment = directory.read_json("dataset.json"), directory.read_json("environment.json")
    planned = next((r for r in reversed(records) if isinstance(r, Planned)), None)
    done = any(isinstance(record, Finished) for record in records)
    scores = _optional(directory, "scores.json") or {}
    splits: dict[str, Any] = {k: scores[k] for k in ("train", "val", "test") if k in scores}
    decided = directory.read_json("resolved.json")
    main = planned.score if planned else "accuracy"
    shown = scores.get("split", "val")
    started, advice = _optional(directory, WEIGHTS), _optional(directory, ADVICE)
    confusion = {
        "classes": data["classes"], "table": None, "worst": scores.get("confusions", []),
    }  # fmt: skip
    return RunFacts(
        striate=striate.__version__,
        name=directory.path.resolve().name,
        run=str(directory.path),
        written=time.strftime("%Y-%m-%d %H:%M"),
        notes=[] if done else ["this training has not ended"],
        score=main,
        headline=_headline(splits[shown], main, shown) if shown in splits else None,
        overfit=_overfit(splits, main),
        calibration=_optional(directory, CALIBRATION),
        diagnosis=_optional(directory, "findings.json")
        or {"verdict": "undetermined", "findings": [], "notes": ["not judged yet"]},
        preflight=(_optional(directory, PREFLIGHT) or {}).get("findings", []),
        model=ModelFacts(recipe.model.name, planned.parameters if planned else 0, started),
        data=DataFacts(
            source=data["source"],
            classes=data["classes"],
            splits=data["splits"],
            kind=facts_kept(data),
            findings=data["findings"],
            most=max([1, *data["splits"]["train"]["per_class"]]),
        ),
        recipe=RecipeFacts(
            words=[
                *in_words(recipe, planned),
                *([origin_in_words(started, main)] if started else []),
                *([advice_in_words(advice)] if advice else []),
            ],
            decisions=[{"knob": k, **found} for k, found in decided.items()],
            yaml=(directory.path / "recipe.yaml").read_text(encoding="utf-8"),
        ),
        curves=_last_of_each(records),
        rates=_rates([r for r in records if isinstance(r, Step)]),
        scores=splits,
        score_names=_names(splits),
        interval_kinds=_kinds(splits),
        cost=_cost(directory, records, environment, planned),
        use=_use(directory.path),
        versions={"Python": environment["python"], **environment["versions"]},
        sections={"confusion": confusion},
    )


def _headline(scores: dict[str, Any], main: str, split: str) -> Headline:
    interval = scores.get("intervals", {}).get(main)
    return Headline(main, split, scores[main], interval, scores["n"])


def _overfit(splits: dict[str, Any], main: str) -> Overfit | None:
    if not {"train", "val"} <= splits.keys():
        return None
    val = splits["val"]
    return Overfit(splits["train"][main], val.get(f"plain_{main}", val[main]))


def _from_evaluation(found: Evaluation, run: RunFacts) -> RunFacts:
    """Scores anew where the run has none, and what needs every answer."""
    own, rows = figures_json(found), class_rows(found)
    splits = run.scores if found.split in run.scores else {**run.scores, found.split: own}
    return replace(
        run,
        scores=splits,
        score_names=_names(splits),
        interval_kinds=_kinds(splits),
        headline=_headline(own, run.score, found.split),
        per_class=rows,
        class_scores=[k for k in (rows[0] if rows else ()) if k not in _NO_SCORES],
        sections=run.sections | found.sections(),
    )


def _last_of_each(records: Sequence[Record]) -> list[Epoch]:
    return list({r.epoch: r for r in records if isinstance(r, Epoch)}.values())


def _rates(steps: list[Step]) -> list[dict[str, float]]:
    places = np.unique(np.linspace(0, len(steps) - 1, min(_RATES, len(steps))).astype(int))
    return [{"step": steps[i].step, "lr": steps[i].lr} for i in places] if steps else []


def _names(splits: dict[str, Any]) -> list[str]:
    found = dict.fromkeys(k for split in splits.values() for k in split)
    return [k for k in found if not k.startswith("intervals")]


def _kinds(splits: dict[str, Any]) -> str:
    by: dict[str, list[str]] = {}
    for name, kind in {
        k: v for s in splits.values() for k, v in s.get("intervals_by", {}).items()
    }.items():
        by.setdefault(kind, []).append(name.replace("_", " "))
    said = {"Wilson": "Wilson's", "jackknife": "infinitesimal jackknife"}
    return "; ".join(f"{said.get(kind, kind)} for {', '.join(of)}" for kind, of in by.items())


def _cost(
    directory: RunDirectory, records: Sequence[Record], environment: dict[str, Any],
    planned: Planned | None,
) -> dict[str, str]:  # fmt: skip
    done = [r for r in records if isinstance(r, Finished)]
    epochs = _last_of_each(records)
    kept = sum(f.stat().st_size for f in directory.checkpoints.rglob("*") if f.is_file())
    devices = ", ".join(map(str, environment["accelerators"])) or environment["processor"]
    known = _optional(directory, COST) or {}
    joules, processes = known.get("joules"), environment.get("processes", 1)
    cost = {
        "time": clock(done[-1].seconds) if done else "not ended",
        "of it epochs": clock(sum(e.seconds for e in epochs)),
        "device": f"{devices}, {counted(environment['cores'], 'core')}, {processes} process"
        + ("es" if processes > 1 else ""),
        "checkpoints": f"{kept / 1e6:.1f} MB",
        "energy": f"{joules / 3600:.1f} Wh counted by the processor, all programs together"
        if joules is not None else "not measured: this machine does not let its counters be read",
    }  # fmt: skip
    if planned and epochs:
        seen = planned.images * len(epochs) / max(1e-9, sum(e.seconds for e in epochs))
        cost["speed"] = f"{seen:,.0f} training images a second, validation included"
    return cost


def _use(path: Path) -> UseFacts:
    run, recipe = shlex.quote(str(path)), shlex.quote(str(path / "recipe.yaml"))
    return UseFacts(
        commands=[
            f"striate predict {run} IMAGE…      # classes of other images",
            f"striate evaluate {run} DATA       # scores on other data",
            f"striate explain {run}             # what it has learnt",
            f"striate train --recipe {recipe}   # make it again",
        ],
        python=f"import striate\n\nrun = striate.Run({str(path)!r})\n"
        'run.predict(["image.jpg"])\nlogits = run.network(images)  # uint8 (N, H, W, C)',
    )


def _optional(directory: RunDirectory, name: str) -> dict[str, Any] | None:
    return directory.read_json(name) if (directory.path / name).is_file() else None


def _figures(inputs: ReportInputs, recipe: Recipe) -> dict[str, list[Figure]]:
    found, train = inputs.evaluation, inputs.train
    made = {"samples": [_samples(train, found.classes)], "augmented": _augmented(train, recipe)}
    for gallery in found.galleries():
        made[gallery.name] = [drawn(gallery, inputs.sample)]
    choice = Choice(topics=("filters", "maps", "attributions"), methods=("saliency", "grad_cam"))
    inside = explained(inspect(inputs.predictor, inputs.sample, lambda _: train, choice))
    made["inside"] = [f for f in inside if f.name not in ("maps-2", "maps-3")]
    return made


def _samples(train: Sample, classes: tuple[str, ...]) -> Figure:
    assert train.targets is not None
    rows = []
    for c, name in enumerate(classes[:_CLASSES]):
        ids = np.flatnonzero(train.targets.having(c))[:_EACH]
        if len(ids):
            rows.append((name, [Cell(tile(p, _SIDE)) for p in train.images(ids)]))
    if not classes:
        ids = np.arange(min(_EACH, len(train)))
        rows = [("", [Cell(tile(p, _SIDE)) for p in train.images(ids)])]
    few = f" the first {_CLASSES} of {len(classes)}" if len(classes) > _CLASSES else " all"
    of_classes = f" of {len(rows)} classes" if classes else ""
    said = f":{few} classes" if classes else ""
    return Figure(
        "samples", sheet(rows), f"training images{of_classes}",
        f"Training images as the network sees them, before they are varied{said}.",
    )  # fmt: skip


def _augmented(train: Sample, recipe: Recipe) -> list[Figure]:
    """What augmentation makes of some training images."""
    strengths = {k: s for k, s in strengths_of(recipe).items() if s > 0}
    if not strengths or not len(train):
        return []
    ids = np.linspace(0, len(train) - 1, min(4, len(train))).round().astype(np.int64)
    stored = train.store.load(ids)
    about = about_of(train.size, measure([train.store.load(np.arange(min(200, len(train))))]))
    pipe = Pipeline(recipe.seed, strengths, about)
    variants = [pipe(stored, ids, epoch) for epoch in range(_VARIANTS)]
    if strengths.get("mosaic"):
        chain = (np.arange(len(ids))[:, None] - np.arange(1, PARTNERS + 1)) % len(ids)
        variants = [pipe.joined(v, ids, v[chain], e).images for e, v in enumerate(variants)]
    elif pipe.mixes:
        turned = np.roll(np.arange(len(ids)), 1)
        variants = [pipe.mixed(v, ids, v[turned], epoch)[0] for epoch, v in enumerate(variants)]
    originals = train.images(ids)
    rows = [
        ("", [Cell(tile(p, _SIDE)) for p in (originals[i], *(v[i] for v in variants))])
        for i in range(len(ids))
    ]
    return [Figure(
        "augmented", sheet(rows, ("original", "variants")), f"{len(rows)} images and variants",
        f"What the network learns from: images and {_VARIANTS} variants of each.",
    )]  # fmt: skip
