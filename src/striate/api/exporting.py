"""A run's network as a file that runs elsewhere, tried before it gets its name."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from striate import __version__
from striate.api.evaluating import Comparison, compare
from striate.api.runs import Run
from striate.core.arrays import Pixels
from striate.core.errors import ModelError
from striate.core.files import disk_faults_explained, sha256
from striate.core.runtime import Runtime, version_of
from striate.data.decode import Unified
from striate.data.loader import even, spread
from striate.export.forms import FORMS, form_named, names_of, open_exported
from striate.export.forms import Opened as OpenedFile
from striate.export.packed import packed
from striate.export.smaller import halve, quantise
from striate.export.verify import Agreement, FileNetwork, agreement, seconds
from striate.plan.data import pictures
from striate.plan.keep import WEIGHTS
from striate.plan.predictor import Predictor
from striate.plan.reopen import Opened, Reopening
from striate.tasks import make_task
from striate.tasks.evaluation import Evaluation
from striate.training import checkpoints

_CALIBRATION = 256
"""Training images that show how large activations become."""
_MANY = 32


@dataclass(frozen=True)
class Exported:
    """A file that was written, and what its trial said.

    about: what the file says of itself; agreement: with the network's outputs; network, file: their
    scores on the same images, and `compared`: the file's against the network's; seconds: of 1 and
    of 32 images, as (network, file); sizes: bytes of the network's weights and of the file.
    """

    path: Path
    about: Mapping[str, Any]
    agreement: Agreement
    network: Evaluation
    file: Evaluation
    compared: Comparison
    seconds: dict[int, tuple[float, float]]
    sizes: tuple[int, int]

    @property
    def worse(self) -> bool:
        """Whether the file is surely worse than the network."""
        return self.compared.sure and self.compared.difference < 0

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "path": str(self.path), "form": self.about["form"], "numbers": self.about["numbers"],
            "images": self.agreement.images, "differences": self.agreement.differences,
            "other_answers": self.agreement.others, "comparison": asdict(self.compared),
            "seconds": {str(n): list(pair) for n, pair in self.seconds.items()},
            "bytes": list(self.sizes), "worse": self.worse,
        }  # fmt: skip


def export_run(
    run: str | Path,
    to: str = "onnx",
    path: str | Path | None = None,
    *,
    half: bool = False,
    int8: bool = False,
    images: int = 1000,
    data: Any = None,
) -> Exported:
    """Write a run's best network into a file that needs neither this package nor the run.

    to: `onnx`, `torch` (torch.export) or `openvino`; path: of the file (default:
    RUN/export/NAME.ENDING). The file takes uint8 images (N, size, size, C), any N, and looks at
    each once. half, int8: smaller numbers, of ONNX files. images: validation images on which file
    and network are compared. data: where the run's data are now, if they were moved.

    Raises ModelError where the network cannot be written, or a file in float32 says something else
    than the network; nothing is left then. Raises MissingExtraError without the packages of
    `striate[export]`, and what `Run.evaluate` raises.
    """
    form, opened = form_named(to), Run(run, data)
    numbers = _numbers(to, half=half, int8=int8)
    target = _target(opened, path, numbers, form.ending)
    reading = Reopening(opened, opened.recipe, data)
    val = reading.split(split="val", images=images)
    net = packed(opened.network.cpu().float(), opened.task, opened.temperature)
    about = _about(opened, reading.kind, to, numbers) | {"outputs": list(names_of(net))}
    example = torch.from_numpy(_pixels(val, opened.size, 2))
    with disk_faults_explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
            draft = Path(folder) / target.name
            _explained(partial(form.write, net, example, draft, about), opened, to)
            if half:
                _explained(partial(halve, draft), opened, numbers)
            if int8:
                train = _batches(reading.split(split="train", images=_CALIBRATION), opened.size)
                _explained(partial(quantise, draft, train), opened, numbers)
            found = _tried(opened, net, draft, val, target)
            if numbers == "float32":
                _refuse_other(found)
            for file in sorted(draft.parent.iterdir()):
                file.replace(target.parent / file.name)
    return found


def open_export(path: str | Path) -> tuple[Predictor, Unified]:
    """An exported file as a predictor, and how images are brought to its input. Raises ModelError
    where it is none, and MissingExtraError."""
    opened = open_exported(Path(path))
    return _predictor(opened), Unified(**opened.about["input"]["how"])


def _predictor(opened: OpenedFile) -> Predictor:
    about = opened.about
    task = make_task(about["kind"], about["loss"], 0.0, about["detector"])
    return Predictor(
        FileNetwork(opened), task, tuple(about["classes"]), about["input"]["size"], _PLAIN,
        temperature=about["temperature"],
    )  # fmt: skip


_PLAIN = Runtime(torch.device("cpu"), "float32")


def _numbers(to: str, *, half: bool, int8: bool) -> str:
    if half and int8:
        raise ModelError("half and 8-bit numbers make two files", "Ask for one of them.")
    if (half or int8) and to != "onnx":
        raise ModelError(f"smaller numbers are for ONNX files, not for {to}", "Use --to onnx.")
    return "float16" if half else "int8" if int8 else "float32"


def _target(run: Run, path: str | Path | None, numbers: str, ending: str) -> Path:
    if path is None:
        name = run.path.name + ("" if numbers == "float32" else f"-{numbers}")
        return run.path / "export" / f"{name}{ending}"
    if not str(path).endswith(ending):
        raise ModelError(f"{path}: the name of such a file ends in {ending}")
    return Path(path)


def _explained(write: Callable[[], None], run: Run, to: str) -> None:
    try:
        write()
    except (ModelError, OSError):
        raise
    except Exception as error:  # exporters raise what they like
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"{run.settled.architecture.name} cannot be written as {to}: {reason}",
            f"Another form may do: {', '.join(sorted(FORMS.keys() - {to}))}.",
        ) from error


def _tried(run: Run, net: nn.Module, draft: Path, val: Opened, target: Path) -> Exported:
    opened = open_exported(draft)
    same = agreement(net, opened, _batches(val, run.size))
    ours = Predictor(
        run.network, run.task, run.classes, run.size, _PLAIN, temperature=run.temperature
    )
    own, found = (
        p.evaluate(val.store, val.split.targets, val.scored) for p in (ours, _predictor(opened))
    )
    times = {}
    for count in (1, _MANY):
        some = _pixels(val, run.size, count)
        some = np.ascontiguousarray(np.resize(some, (count, *some.shape[1:])))
        times[count] = seconds(partial(through, net, some), partial(opened.run, some))
    size = sum(file.stat().st_size for file in draft.parent.iterdir())
    weights = sum(t.numel() * t.element_size() for t in net.state_dict().values())
    return Exported(
        target, opened.about, same, own, found, compare(found, own), times, (weights, size)
    )


def through(net: nn.Module, images: Pixels) -> Any:
    """A packed network's outputs, by torch."""
    with torch.inference_mode():
        return net(torch.from_numpy(images))


def _refuse_other(found: Exported) -> None:
    if found.agreement.exact:
        return
    said = ", ".join(f"{n} by {d:.2g}" for n, d in found.agreement.differences.items())
    raise ModelError(
        f"the file says something else than the network: {said}; {found.agreement.others} of "
        f"{found.agreement.images} images are answered otherwise. It was not kept",
        "Please report this with the network's name. Another form may do (--to).",
    )


def _pixels(split: Opened, size: int, count: int) -> Pixels:
    """Images from all over a split, as the network takes them."""
    return np.ascontiguousarray(pictures(split.store, spread(len(split.split), count), size))


def _batches(split: Opened, size: int) -> Iterator[Pixels]:
    for ids in even(np.arange(len(split.split), dtype=np.int64), _MANY):
        yield np.ascontiguousarray(pictures(split.store, ids, size))


def _about(run: Run, kind: str, to: str, numbers: str) -> dict[str, Any]:
    """What a file says of itself."""
    settled, chosen = run.settled, checkpoints.best(run.checkpoints)[0]
    assert chosen is not None  # or there were no network
    card = run.read_json(WEIGHTS) if (run.path / WEIGHTS).is_file() else {}
    detector = run.recipe.model.detector
    return {
        "written_by": f"striate {__version__}, torch {version_of('torch')}",
        "form": to, "numbers": numbers,
        "kind": kind, "loss": settled.loss, "classes": list(run.classes),
        "detector": detector if detector not in ("auto", None) else "",
        "network": settled.architecture.name, "temperature": run.temperature,
        "input": {
            "layout": "uint8 (N, size, size, channels), RGB or grey, as decoded and resized",
            "size": run.size, "channels": settled.channels, "how": asdict(settled.shape),
        },
        "score": _score(run),
        "started_from": {k: card[k] for k in ("name", "source", "licence") if k in card},
        "run": run.path.name,
        "sha256_of_weights": sha256(chosen.path / "model.safetensors"),
        "images_fingerprint": run.read_json("dataset.json").get("images_fingerprint", ""),
    }  # fmt: skip


def _score(run: Run) -> dict[str, Any]:
    """The run's main score with its interval, of a single view, which is what a file gives."""
    if not (run.path / "scores.json").is_file():
        return {}
    scores = run.read_json("scores.json")
    split = scores["split"]
    own, name = scores[split], f"plain_{run.task.main_score}"
    name = name if name in own else run.task.main_score
    return {
        "split": split, "name": run.task.main_score, "value": own[name],
        "interval": own.get("intervals", {}).get(name), "images": own["n"],
    }  # fmt: skip
