"""Several processes on one machine: torch's elastic launcher, and what to do when one dies."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from striate.core.errors import RecipeError
from striate.core.run import has_checkpoint

RESTARTS = 3
"""How often a training whose processes were killed goes on by itself."""


def launched() -> bool:
    """Whether this process is one of several that were started together."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def first() -> bool:
    """Whether this process speaks to the user."""
    return int(os.environ.get("RANK", "0")) == 0


def restarted() -> bool:
    """Whether torchrun started this process again after one had died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def launch(argv: Sequence[str], procs: int, folder: Path) -> int:
    """Run `striate ARGV` in `procs` processes; after a kill `striate resume FOLDER`, at most
    RESTARTS times. Returns the exit code."""
    import torch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    gpus = torch.cuda.device_count()
    if gpus and procs > gpus:
        raise RecipeError(f"--procs {procs}: there are {gpus} GPUs here", "One process a GPU.")
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=procs, run_id=folder.name,
        rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=0,
    )  # fmt: skip
    command = list(argv)
    for left in reversed(range(RESTARTS + 1)):
        try:
            elastic_launch(config, sys.executable)("-m", "striate", *command)
        except SignalException:
            raise KeyboardInterrupt(f"stopped. Continue with: striate resume {folder}") from None
        except ChildFailedError as error:
            _, failure = error.get_first_failure()
            if failure.exitcode >= 0 or not left or not has_checkpoint(folder):
                return abs(failure.exitcode) or 1
            print(
                f"a process was killed (signal {-failure.exitcode}): going on from the last "
                f"checkpoint of {folder}",
                file=sys.stderr,
            )
            json = ["--json"] if "--json" in command else []
            command = ["resume", str(folder), *json]
        else:
            return 0
    raise AssertionError("unreachable")


def without(argv: Sequence[str], *flags: str) -> list[str]:
    """The arguments without these flags and their values, `--flag N` or `--flag=N`."""
    kept, skip = [], False
    for arg in argv:
        if skip:
            skip = False
        elif arg.partition("=")[0] in flags:
            skip = arg in flags
        else:
            kept.append(arg)
    return kept
