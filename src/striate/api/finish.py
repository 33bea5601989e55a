"""What happens between the last update and the last record: verdict, scores, report."""

from __future__ import annotations

from collections.abc import Iterator

from striate.core.errors import RunError
from striate.core.files import write_atomically, write_json
from striate.core.group import Group
from striate.core.randomness import permutation
from striate.core.records import Estimated, Finished, Measured, Note, Record
from striate.core.run import AVERAGES, RunDirectory
from striate.data.loader import SubStore, spread
from striate.doctor.live import Watch
from striate.explain.sample import Sample, sample_of
from striate.metrics.intervals import difference
from striate.plan.predictor import Predictor
from striate.plan.prepare import Prepared
from striate.tasks.evaluation import Evaluation
from striate.tasks.task import Scored
from striate.training import checkpoints
from striate.training.averages import averages_of, estimated
from striate.training.inference import Pass, evaluate
from striate.training.monitor import averages_lag
from striate.training.state import State

_TRAIN_SAMPLE = 5_000
_AVERAGED = 2_000
"""Training images from which batch norm's averages are estimated anew."""


def reported(
    directory: RunDirectory,
    prepared: Prepared,
    state: State,
    evaluations: dict[str, Evaluation],
    done: Finished,
) -> Iterator[Record]:
    """Write report.html. A training is never lost to its report: what fails there is said."""
    size, data = prepared.settled.image_size, prepared.data

    def shown(name: str, images: int | None) -> Sample:
        return sample_of(name, data.dataset.splits[name], data.stores[name], size, images)

    found = evaluations.get("test", evaluations["val"])
    predictor = Predictor(
        state.net, prepared.task, found.classes, size, prepared.runtime,
        temperature=found.temperature,
    )  # fmt: skip
    try:
        from striate.report import facts  # not needed before

        test, train = shown(found.split, None), shown("train", facts.REPORTED)
        inputs = facts.ReportInputs(found, test, train, predictor)
        text = facts.FORMS["html"](facts.facts_of(directory, prepared.recipe, inputs, done=done))
        write_atomically(directory.path / "report.html", text)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        again = f"`striate report {directory.path}` shows more"
        yield Note("warning", f"the report could not be written ({why}); {again}")


def estimated_anew(
    directory: RunDirectory, prepared: Prepared, state: State, last: Measured | None
) -> Iterator[Record]:
    """Where batch norm's running averages lag behind the weights: estimate them anew, and keep
    these beside the run if validation is clearly better with them."""
    data, settled, task = prepared.data, prepared.settled, prepared.task
    chance = task.chance_loss(len(data.dataset.classes))
    if settled.norm_frozen or last is None or chance is None or not averages_lag(last, chance):
        return
    count = len(data.dataset.splits["train"])
    ids = permutation(settled.seed, 0, "averages", count)[:_AVERAGED]
    fresh = estimated(
        state.net, data.stores["train"], ids, size=settled.image_size, runtime=prepared.runtime,
        batch=settled.batch_size, threads=settled.threads,
    )  # fmt: skip
    val = data.dataset.splits["val"]
    single_view = Pass(settled.image_size, prepared.runtime, threads=settled.threads)
    new, old = (
        evaluate(task, net, data.stores["val"], val.targets, data.scored("val"), single_view)
        for net in (fresh, state.net)
    )
    ours, theirs = new.contributions(), old.contributions()
    if ours is None or theirs is None or not difference(ours, theirs)[1][0] > 0:
        return
    if prepared.runtime.group.is_main:
        checkpoints.write_tensors(directory.path / AVERAGES, averages_of(fresh))
    position, score = state.position, task.main_score
    yield Estimated(position.step, position.epoch, old.scores[score], new.scores[score], AVERAGES)


def judged(directory: RunDirectory, group: Group, watch: Watch) -> Iterator[Record]:
    """Write what the doctor says at the end, and say what is no longer so."""
    found = watch.diagnosis()
    if group.is_main:
        write_json(directory.path / "findings.json", found.to_json())
    for rule in watch.withdrawn(found):
        name = rule.replace("_", " ")
        yield Note("info", f"the doctor withdraws what it said during the training: {name}")
    yield Note("info", found.in_a_sentence())


def best_step(directory: RunDirectory) -> int:
    chosen, _ = checkpoints.best(directory.checkpoints)
    if chosen is None:
        raise RunError(f"{directory.path} has no sound checkpoint to score")
    return chosen.step


def evaluated(state: State, prepared: Prepared, name: str) -> Evaluation:
    """Scores of a split; of training a sample in the single view, to compare with validation."""
    data, settled = prepared.data, prepared.settled
    split, store, views = data.dataset.splits[name], data.stores[name], settled.test_views
    if name == "train":
        ids = spread(len(split), _TRAIN_SAMPLE)
        split, store, views = split.take(ids), SubStore(store, ids), "single"
    names = tuple(split.images.name(i) for i in range(len(split)))
    how = Pass(settled.image_size, prepared.runtime, views, settled.threads)
    scored = Scored(name, data.dataset.classes, names)
    return evaluate(prepared.task, state.net, store, split.targets, scored, how)
