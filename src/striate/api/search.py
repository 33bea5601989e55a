"""A search over knobs: optuna proposes, every trial is a run, validation decides (T6).

    FOLDER/recipe.yaml     what all trials share
    FOLDER/study.json      the space that is searched, and how
    FOLDER/journal.log     optuna's journal: any number of processes may append to it
    FOLDER/trial-000/ …    the runs; the first has the values that a plain training would have
    FOLDER/best.json       the best run, and its test scores, read once when all trials are done

The same call on the same folder goes on where an earlier one ended or was killed, in the middle of
a trial too, and several processes may work on one folder.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.api.runs import Run
from striate.api.stream import continued, stream
from striate.core.errors import MissingExtraError, RecipeError, RunError, TrainingError
from striate.core.files import write_atomically, write_json
from striate.core.recipe import Recipe
from striate.core.recipe_io import get_knob, load_recipe, set_knob, to_yaml
from striate.core.records import Epoch, Finished, Note, Record
from striate.core.run import has_checkpoint, locked, release_run, reserve_folder
from striate.core.space import applied, by_knob, default_space, read_space, values_in
from striate.data.sources import lasting
from striate.plan.prepare import IN_MEMORY, requested, settle, short_name

if TYPE_CHECKING:
    import optuna

METHODS = ("tpe", "random")
_SAME_FOR_ALL = (
    "data.image_size", "data.channels", "data.memory_mb", "data.workers",
    "augment.flip", "device.precision", "budget.epochs",
)  # fmt: skip
"""What is measured once; all other "auto" knobs follow from the values of a trial."""
_ASKING, _PATIENCE = "asking.lock", 3600.0


@dataclass(frozen=True)
class Tried:
    """One trial. `state`: finished, pruned (stopped early, or its loss was not finite), running or
    interrupted; score: validation of the best epoch, or of the last one that was reached."""

    number: int
    run: str
    values: dict[str, Any]
    state: str
    score: float | None
    epochs: int
    fault: str = ""


def stream_search(
    data: Any = None,
    *,
    recipe: Recipe | str | Path | None = None,
    study: str | Path | None = None,
    space: Mapping[str, str] | None = None,
    trials: int = 20,
    method: str = "tpe",
    prune: bool = True,
    stop: Callable[[], bool] = lambda: False,
    **knobs: Any,
) -> Iterator[Record]:
    """Try `trials` settings of a space, as the records of their runs; `best` says what came out.

    space: knob → text that `read_space` knows; None: learning rate, weight decay, augmentation and
    label smoothing around their usual values, for a recipe that names weights also how many stages
    learn and how fast. method: "tpe" (a model of what did well proposes) or
    "random". prune: Hyperband ends trials early whose validation score falls behind. study: a
    folder; one that holds a search is continued, its trials count. The test split is not read by
    trials; at the end it is read once, for the best run. Raises RecipeError, RunError, DataError.
    """
    _optuna()
    if trials < 1 or method not in METHODS:
        raise RecipeError(f"trials={trials}, method={method!r}", "One trial or more; tpe, random.")
    wanted = requested(data, recipe, knobs)
    if data is None and wanted.data.source == IN_MEMORY:
        raise RecipeError("this recipe was used on Python objects", "Give the data to train on.")
    folder = reserve_folder(study, f"{short_name(wanted.data.source)}-search")
    yield Note("info", f"search {folder}")
    plan = {"space": by_knob(space or default_space(wanted)), "method": method, "prune": prune}
    try:
        with locked(folder, _ASKING, _PATIENCE):
            yield from _begin(folder, wanted, plan, data)
    except BaseException:
        if not (folder / "study.json").exists():  # nothing has begun: leave no empty folder behind
            (folder / _ASKING).unlink(missing_ok=True)
            release_run(folder)
        raise
    base, found = load_recipe(folder / "recipe.yaml"), _read(folder)
    while not stop():
        with ExitStack() as held:
            trial = _next(folder, found, trials, held)
            if trial is None:
                break
            yield Note("info", f"trial {trial.number}: {described(trial.params)}")
            yield from _try(folder, base, trial, data, stop)
    else:
        return
    yield from _score_test(folder, data)


def _begin(folder: Path, wanted: Recipe, plan: dict[str, Any], data: Any) -> Iterator[Record]:
    """Settle what all trials share and what the space is, or compare with what was settled."""
    asked = to_yaml(set_knob(wanted, "data.source", lasting(wanted.data.source)))
    if (folder / "study.json").is_file():
        known = _read(folder)
        if known["asked"] != asked or any(known[k] != v for k, v in plan.items()):
            raise RunError(
                f"{folder} holds a search over other knobs or values",
                "Give --study another folder, or the same knobs again.",
            )
        return
    settled = yield from settle(wanted.data.source if data is None else data, wanted)
    base = set_knob(wanted, "data.score_test", False)
    base = set_knob(base, "data.source", lasting(wanted.data.source))
    base = set_knob(base, "budget.minutes", None)
    for knob in _SAME_FOR_ALL:
        if knob not in plan["space"]:
            base = set_knob(base, knob, get_knob(settled, knob))
    space = read_space(plan["space"], settled)
    found = {
        **plan,
        "asked": asked,
        "seed": wanted.seed,
        "epochs": settled.budget.epochs,
        "dimensions": {knob: asdict(dimension) for knob, dimension in space.items()},
    }
    first = values_in(settled, space)
    study = _study(folder, found)
    if first is not None:
        study.enqueue_trial(first, skip_if_exists=True)
    write_atomically(folder / "recipe.yaml", to_yaml(base))
    write_json(folder / "study.json", found)  # last: with it the search has begun


def _read(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{folder} holds no search", "`striate search DATA` begins one.") from None
    except (OSError, ValueError) as error:
        raise RunError(
            f"{folder / 'study.json'} is damaged: {error}", "Begin a search in another folder."
        ) from None
    return found


def _study(folder: Path, found: Mapping[str, Any]) -> optuna.Study:
    """The search as optuna sees it. What is proposed next follows from the seed and the number of
    trials, not from the process that asks."""
    optuna = _optuna()
    from optuna.storages.journal import JournalFileBackend

    storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    study = optuna.create_study(
        study_name="search", storage=storage, direction="maximize", load_if_exists=True,
        pruner=optuna.pruners.HyperbandPruner(max_resource=found["epochs"])
        if found["prune"] else optuna.pruners.NopPruner(),
    )  # fmt: skip
    seed = 1000 * found["seed"] + len(study.get_trials(deepcopy=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.sampler = (
            optuna.samplers.RandomSampler(seed)
            if found["method"] == "random"
            else optuna.samplers.TPESampler(seed=seed, multivariate=True)
        )
    return study


def _next(
    folder: Path, found: Mapping[str, Any], trials: int, held: ExitStack
) -> optuna.Trial | None:
    """An interrupted trial, else a new one, None when there are enough. `held` then holds the
    trial's lock, which tells the other processes that somebody is at work on it."""
    optuna = _optuna()
    running, failed = optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.FAIL
    with locked(folder, _ASKING, _PATIENCE):
        study = _study(folder, found)
        for left in study.get_trials(deepcopy=False, states=(running,)):
            if _abandoned(folder, left.number):
                study.tell(left.number, state=failed)
                run = left.user_attrs.get("run", _place(left.number))
                study.enqueue_trial(left.params, user_attrs={"run": run})
        counted = [t for t in study.get_trials(deepcopy=False) if t.state != failed]
        waiting = [t for t in counted if t.state == optuna.trial.TrialState.WAITING]
        if len(counted) - len(waiting) >= trials:
            return None
        trial = study.ask(_distributions(found))
        if "run" not in trial.user_attrs:
            trial.set_user_attr("run", _place(trial.number))
        held.enter_context(locked(folder, f"{_place(trial.number)}.lock"))
    return trial


def _place(number: int) -> str:
    return f"trial-{number:03d}"


def _abandoned(folder: Path, number: int) -> bool:
    with contextlib.suppress(RunError), locked(folder, f"{_place(number)}.lock"):
        return True
    return False


def _distributions(found: Mapping[str, Any]) -> dict[str, Any]:
    from optuna import distributions as of

    def one(dimension: Mapping[str, Any]) -> Any:
        if "values" in dimension:
            return of.CategoricalDistribution(dimension["values"])
        low, high, log = dimension["low"], dimension["high"], dimension["log"]
        kind = of.IntDistribution if dimension["whole"] else of.FloatDistribution
        return kind(low, high, log=log)

    return {knob: one(dimension) for knob, dimension in found["dimensions"].items()}


def _try(
    folder: Path, base: Recipe, trial: optuna.Trial, data: Any, stop: Callable[[], bool]
) -> Iterator[Record]:
    """Train, reporting each epoch; the trial ends finished, pruned, or stays open if stopped."""
    optuna = _optuna()
    place, recipe, pruned = folder / trial.user_attrs["run"], applied(base, trial.params), False
    tell = trial.study.tell
    try:
        with contextlib.closing(_records(place, recipe, data, stop)) as records:
            for record in records:
                yield record
                if isinstance(record, Epoch):
                    trial.report(record.val_score, record.epoch)
                    pruned = record.epoch != recipe.budget.epochs and trial.should_prune()
                    if pruned:
                        break
                if isinstance(record, Finished):
                    tell(trial, next(iter(record.val.values())))
                    return
    except TrainingError as error:  # such as a learning rate that is too high: an answer too
        trial.set_user_attr("fault", error.message.splitlines()[0])
        tell(trial, state=optuna.trial.TrialState.PRUNED)
        yield Note("warning", error.message.splitlines()[0])
    except Exception:
        tell(trial, state=optuna.trial.TrialState.FAIL)
        raise
    if pruned:
        tell(trial, state=optuna.trial.TrialState.PRUNED)
        yield Note("info", f"trial {trial.number} ends here: it falls behind")


def _reference(place: Path) -> Path | None:
    """The first trial that was trained: all others must have the same images."""
    known = sorted(path.parent for path in place.parent.glob("trial-*/dataset.json"))
    return next((path for path in known if path != place and has_checkpoint(path)), None)


def _records(
    place: Path, recipe: Recipe, data: Any, stop: Callable[[], bool]
) -> Generator[Record, None, None]:
    """The records of a new run; of one that was begun those that it has, then the rest."""
    if not has_checkpoint(place):
        quiet = set_knob(recipe, "report.write", False)
        like = _reference(place)
        yield from stream(data, recipe=quiet, run=place, stop=stop, like=like)
        return
    yield from (record for record in Run(place).records() if isinstance(record, Epoch))
    yield from continued(place, data, stop)


def _score_test(folder: Path, data: Any) -> Iterator[Record]:
    """Read the test split for the best run, unless another process is still at work."""
    with locked(folder, _ASKING, _PATIENCE):
        done = tried(folder)
        if any(t.state == "running" for t in done):
            yield Note("info", "other processes are at work: the last one reads the test split")
            return
        winner = best_of(done)
        if winner is None:
            yield Note("warning", "no trial was finished")
            return
        known = best(folder)
        if known.get("run") == winner.run:
            return
        run = Run(folder / winner.run, data)
        splits = run.read_json("dataset.json")["splits"]
        test = run.evaluate(split="test").scores if "test" in splits else {}
        reads = known.get("test_reads", 0) + bool(test)
        finished = run.finished
        write_json(
            folder / "best.json",
            {
                "run": winner.run, "trial": winner.number, "values": winner.values,
                "val": finished.val if finished else {}, "test": test, "test_reads": reads,
            },
        )  # fmt: skip
        if reads > 1:
            yield Note("warning", f"the test split has now been read {reads} times by this search")


def best_of(done: list[Tried]) -> Tried | None:
    """The finished trial with the best validation score, the earliest of equals."""
    finished = [t for t in done if t.state == "finished" and t.score is not None]
    return max(finished, key=lambda t: t.score or 0.0, default=None)


def best(folder: str | Path) -> dict[str, Any]:
    """What best.json says: run, trial, values, val, test, test_reads; empty before the end."""
    path = Path(folder) / "best.json"
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return known


def tried(folder: str | Path) -> list[Tried]:
    """All trials so far, in their order; one that was taken up again counts once."""
    folder = Path(folder)
    names = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "interrupted"}
    found: dict[str, Tried] = {}
    for trial in _study(folder, _read(folder)).get_trials(deepcopy=False):
        if trial.state.name == "WAITING":
            continue
        run = trial.user_attrs.get("run", _place(trial.number))
        state = names.get(trial.state.name, "running")
        if state == "running" and _abandoned(folder, trial.number):
            state = "interrupted"
        reached = max(trial.intermediate_values, default=0)
        last = trial.intermediate_values.get(reached)
        score = trial.value if state == "finished" else last
        fault = trial.user_attrs.get("fault", "")
        found[run] = Tried(trial.number, run, dict(trial.params), state, score, reached, fault)
    return list(found.values())


def importances(folder: str | Path) -> dict[str, float]:
    """How much each knob explains of the difference between good and middling trials, from 0 to 1
    in all (PED-ANOVA, Watanabe 2023); empty for fewer than ten finished trials."""
    optuna = _optuna()
    study = _study(Path(folder), _read(Path(folder)))
    if sum(t.state.name == "COMPLETE" for t in study.get_trials(deepcopy=False)) < 10:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: dict[str, float] = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
        )
    return found


def described(values: Mapping[str, Any]) -> str:
    """`lr 0.11, l2 0.0015`."""
    return ", ".join(f"{short(knob)} {shown(value)}" for knob, value in values.items())


def short(knob: str) -> str:
    """`loss.label_smoothing` → `label smoothing`."""
    return knob.rpartition(".")[2].replace("_", " ")


def shown(value: Any) -> str:
    """Three figures of a number; anything else as it is."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("optuna", "search", "to search over knobs") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
