"""What happens between the last update and the last record: verdict, scores, report."""

from __future__ import annotations

from collections.abc import Iterator

from striate.api.looking import Asked
from striate.api.preparing import Ready
from striate.api.reporting import FORMS, REPORTED, Looked, facts_of
from striate.api.sample import Sample, sample_of
from striate.core.errors import RunError
from striate.core.files import write_atomically, write_json
from striate.core.group import Group
from striate.core.randomness import permutation
from striate.core.records import Estimated, Finished, Measured, Note, Record
from striate.core.run import AVERAGES, RunDirectory
from striate.data.loader import SubStore, spread
from striate.doctor.live import Watch
from striate.metrics.intervals import difference
from striate.tasks.losses import chance_loss
from striate.training import checkpoints
from striate.training.averages import averages_of, estimated
from striate.training.evaluate import Evaluation, evaluate, outputs, right_answers
from striate.training.materials import task_of, threads_of
from striate.training.measure import averages_lag
from striate.training.state import State

_TRAIN_SAMPLE = 5_000
_AVERAGED = 2_000
"""Training images from which batch norm's averages are estimated anew."""


def reported(
    directory: RunDirectory,
    ready: Ready,
    state: State,
    evaluations: dict[str, Evaluation],
    done: Finished,
) -> Iterator[Record]:
    """Write report.html. A training is never lost to its report: what fails there is said."""
    size = ready.recipe.data.image_size
    assert size != "auto"

    def shown(name: str, images: int | None) -> Sample:
        split = ready.found.dataset.splits[name]
        return sample_of(name, split, ready.found.stores[name], size, images)

    found = evaluations.get("test", evaluations["val"])
    asked = Asked(
        state.net, found.classes, lambda x: found.task.probabilities(x / found.temperature)
    )
    try:
        looked = Looked(found, shown(found.split, None), shown("train", REPORTED), asked)
        text = FORMS["html"](facts_of(directory, ready.recipe, looked, done=done))
        write_atomically(directory.path / "report.html", text)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        again = f"`striate report {directory.path}` shows more"
        yield Note("warning", f"the report could not be written ({why}); {again}")


def estimated_anew(
    directory: RunDirectory, ready: Ready, state: State, last: Measured | None
) -> Iterator[Record]:
    """Where batch norm's running averages lag behind the weights: estimate them anew, and keep
    these beside the run if validation is clearly better with them."""
    chance = chance_loss(ready.recipe.loss.name, len(ready.found.dataset.classes))
    if last is None or not averages_lag(last, chance):
        return
    data, recipe, stores = ready.found.dataset, ready.recipe, ready.found.stores
    size, batch = recipe.data.image_size, recipe.optim.batch_size
    assert size != "auto"
    assert batch != "auto"
    ids = permutation(recipe.seed, 0, "averages", len(data.splits["train"]))[:_AVERAGED]
    threads = threads_of(recipe)
    fresh = estimated(
        state.net, stores["train"], ids, size=size, runtime=ready.runtime, batch=batch,
        threads=threads,
    )  # fmt: skip
    targets, task = data.splits["val"].targets, task_of(recipe, multi_label=data.multi_label)
    new, old = (
        outputs(net, stores["val"], size=size, runtime=ready.runtime, threads=threads)[0]
        for net in (fresh, state.net)
    )
    low = difference(right_answers(new, targets), right_answers(old, targets))[1][0]
    if not low > 0:
        return
    if ready.runtime.group.first:
        checkpoints.write_tensors(directory.path / AVERAGES, averages_of(fresh))
    at, score = state.position, task.main_score
    yield Estimated(
        at.step, at.epoch, task.scores(old, targets)[score], task.scores(new, targets)[score],
        AVERAGES,
    )  # fmt: skip


def judged(directory: RunDirectory, group: Group, watch: Watch) -> Iterator[Record]:
    """Write what the doctor says at the end, and say what is no longer so."""
    found = watch.diagnosis()
    if group.first:
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


def evaluated(state: State, ready: Ready, name: str) -> Evaluation:
    """Scores of a split; of training a sample in the single view, to compare with validation."""
    recipe, dataset, store = ready.recipe, ready.found.dataset, ready.found.stores[name]
    split, views = dataset.splits[name], recipe.augment.test_views
    if name == "train":
        ids = spread(len(split), _TRAIN_SAMPLE)
        split, store, views = split.take(ids), SubStore(store, ids), "single"
    size = recipe.data.image_size
    assert size != "auto"
    task = task_of(recipe, multi_label=dataset.multi_label)
    scores, logits, losses = evaluate(
        state.net, store, split, task, size=size, runtime=ready.runtime, views=views,
        threads=threads_of(recipe),
    )  # fmt: skip
    names = tuple(split.images.name(i) for i in range(len(split)))
    return Evaluation(name, scores, dataset.classes, names, split.targets, logits, losses, task)
