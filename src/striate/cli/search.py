"""`striate search`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from striate.cli.flags import parse_knobs, refuse_below_one
from striate.cli.launch import without
from striate.cli.view import program, show
from striate.core.errors import RecipeError
from striate.core.recipe import Recipe
from striate.core.run import reserve_folder
from striate.core.space import by_knob, default_space
from striate.core.strict_json import one_line


@dataclass(frozen=True)
class SearchFlags:
    """Try settings of a recipe: every trial is a run, the best by validation wins, and the test
    split is read once, at the end. The same command with --study goes on where it ended.
    """

    source: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")] = None
    """what `striate train` takes"""
    space: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KNOB=RANGE")] = ()
    """what to vary, once for each knob: lr=0.01..1, batch_size=64..512, lr=x0.2..x5 (times the
    usual value), optim.rule=muon,nesterov; default: lr, weight decay, augmentation, smoothing"""
    trials: int = 20
    """settings to try, with those that --study holds"""
    method: str = "tpe"
    """tpe, random"""
    prune: bool = True
    """let all trials finish; without it Hyperband ends those early that fall behind"""
    study: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """folder of the search (default runs/<date>-<name>-search)"""
    jobs: int = 1
    """processes that search together"""
    recipe: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """YAML recipe; flags override it"""
    preset: str = "quick"
    """named recipe to start from: quick, standard"""
    json: bool = False
    """print one JSON object as the last line"""
    knobs: Annotated[Recipe, tyro.conf.arg(name="")] = Recipe()  # noqa: RUF009 - frozen


def search(argv: Sequence[str]) -> int:
    """Search and show it; 130 if interrupted."""
    flags: SearchFlags = parse_knobs(SearchFlags, "search", argv)
    refuse_below_one(jobs=flags.jobs)
    from striate.api.search import best, stream_search
    from striate.api.stopping import graceful_stop
    from striate.plan.prepare import short_name
    from striate.plan.refuse import check_used

    space = _space(flags.space) or default_space(flags.knobs)
    check_used(flags.knobs)
    by_knob(space)
    name = f"{short_name(flags.knobs.data.source)}-search"
    folder = reserve_folder(flags.study, name)
    with ExitStack() as stack:
        others = _others(argv, flags, folder, stack) if flags.jobs > 1 else []
        with graceful_stop() as stop:
            show(
                stream_search(
                    recipe=flags.knobs, study=folder, space=space,
                    trials=flags.trials, method=flags.method, prune=flags.prune, stop=stop,
                )
            )  # fmt: skip
            stopped = stop()
        failed = [other.wait() for other in others]
    _table(folder)
    if stopped or any(code not in (0, 130) for code in failed):
        raise KeyboardInterrupt(f"stopped. Continue with the same command and --study {folder}")
    found = best(folder)
    _closing(folder, found)
    if flags.json:
        print(one_line({"study": str(folder), **found}))
    return 0


def _space(texts: Sequence[str]) -> dict[str, str]:
    space = {}
    for text in texts:
        knob, equals, values = text.partition("=")
        if not equals:
            raise RecipeError(f"--space {text}: no range", "Write --space lr=0.01..1")
        space[knob.replace("-", "_")] = values
    return space


def _others(
    argv: Sequence[str], flags: SearchFlags, folder: Path, stack: ExitStack
) -> list[subprocess.Popen[bytes]]:
    """The other processes; each writes what it would show to a log in the folder. Cores are
    shared."""
    os.environ["LOCAL_WORLD_SIZE"] = str(flags.jobs)
    kept = [arg for arg in without(argv, "--jobs", "--study") if arg != "--json"]
    command = [sys.executable, "-m", "striate", "search", *kept, "--study", str(folder)]
    started = []
    for number in range(2, flags.jobs + 1):
        log = stack.enter_context((folder / f"job-{number}.log").open("ab"))
        started.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
    return started


def _table(folder: Path) -> None:
    """All trials in their order, the best ones marked."""
    from striate.api.search import best_of, short, shown, tried

    done = tried(folder)
    if not done:
        return
    winner = best_of(done)
    knobs = list(done[0].values)
    table = Table(box=None, pad_edge=False)
    table.add_column("trial", justify="right")
    for knob in knobs:
        table.add_column(short(knob), justify="right")
    for title in ("epochs", "validation"):
        table.add_column(title, justify="right")
    table.add_column("")
    for trial in done:
        mark = " *" if trial == winner else ""
        table.add_row(
            str(trial.number),
            *(shown(trial.values.get(knob)) for knob in knobs),
            str(trial.epochs),
            "–" if trial.score is None else f"{trial.score:.4f}{mark or '  '}",
            "" if trial.state == "finished" else trial.fault or trial.state,
            style="bold" if mark else "",
        )
    Console(highlight=False, soft_wrap=not sys.stdout.isatty()).print(table)


def _closing(folder: Path, found: dict[str, Any]) -> None:
    from striate.api.search import described, importances, short

    if not found:
        return
    weights = importances(folder)
    if weights:
        ranked = sorted(weights.items(), key=lambda item: -item[1])
        print("What mattered: " + ", ".join(f"{short(knob)} {w:.0%}" for knob, w in ranked))
    print(f"Best: trial {found['trial']} ({described(found['values'])})")
    for split in ("val", "test"):
        if found[split]:
            score, value = next(iter(found[split].items()))
            print(f"  {split} {score.replace('_', ' ')} {value:.4f}")
    run = folder / found["run"]
    print(f"The run: {run}")
    print(f"  {program()} predict {run} IMAGE…")
