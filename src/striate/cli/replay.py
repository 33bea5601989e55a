"""`striate replay RUN --sink NAME`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from striate.cli.flags import parse


def replay(argv: Sequence[str]) -> int:
    """Give the figures of a run to another program."""
    return int(parse(_replay, "replay", argv))


def _replay(run: Annotated[Path, tyro.conf.Positional], sink: str) -> int:
    """Give all figures of a run, finished or not, to a sink. `striate train --sink NAME` does it
    while it trains.

    Args:
        run: the run directory
        sink: csv (RUN/metrics.csv), tensorboard (RUN/tensorboard), wandb or mlflow
    """
    from striate.api.sinks import replay as replayed

    count = replayed(run, sink)
    print(f"{run}: the figures of {count:,} steps and epochs went to {sink}")
    return 0
