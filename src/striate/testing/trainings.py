"""The law of whole trainings: one that was interrupted and resumed is the uninterrupted one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from striate.api.stream import resume, stream
from striate.core.records import Finished, Step
from striate.core.run import RunDirectory
from striate.testing.laws import Laws
from striate.training import checkpoints


def check_resume(data: Any, folder: str | Path, *, after: int = 3, **knobs: Any) -> list[str]:
    """Train on `data` twice into `folder`: as it is, and stopped after some steps and resumed.

    knobs: as `striate.train` takes them, such as `model="mynets:tiny", epochs=2`.
    """
    laws, root = Laws("the training"), Path(folder)
    whole = list(stream(data, run=root / "whole", **knobs))
    laws.check("it ends", isinstance(whole[-1], Finished), type(whole[-1]).__name__)
    steps = 0
    for record in stream(data, run=root / "resumed", **knobs):
        steps += isinstance(record, Step)
        if steps == after:
            break
    for _ in resume(root / "resumed", data=data):
        pass
    one, other = (_weights(root / name) for name in ("whole", "resumed"))
    laws.check("a resumed training has the same weights, bit by bit", one == other)
    return laws.kept


def _weights(run: Path) -> bytes:
    found, _ = checkpoints.latest(RunDirectory(run).checkpoints)
    assert found is not None
    return (found.path / "model.safetensors").read_bytes()
