"""The forms of exported files: how each is written and opened again. FORMS is the map.

A file knows what it is: under ABOUT it carries one JSON text with the classes, the shape of the
input, how images are brought to it, the score and where all this came from.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.arrays import Pixels
from striate.core.errors import MissingExtraError, ModelError, perhaps
from striate.core.runtime import usable_cores
from striate.export.packed import IMAGES

ABOUT = "striate"
Outputs = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Opened:
    """An exported file that was opened. run: uint8 (N, S, S, C) → outputs by name; about: what the
    file says of itself."""

    run: Callable[[Pixels], Outputs]
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Form:
    """ending: of its files. write(net, example, path, about), where net has the names of its
    `outputs`; read(path); needs: packages of the extra `export`."""

    ending: str
    write: Callable[[nn.Module, Tensor, Path, Mapping[str, Any]], None]
    read: Callable[[Path], Opened]
    needs: tuple[str, ...] = ()


def form_named(name: str) -> Form:
    """The form with its packages at hand. Raises ModelError and MissingExtraError."""
    if name not in FORMS:
        raise ModelError(f"no form '{name}' to export to", perhaps(name, FORMS))
    _need(FORMS[name])
    return FORMS[name]


def open_exported(path: Path) -> Opened:
    """A file that was exported before. Raises ModelError where it is not one."""
    found = next((f for f in FORMS.values() if path.name.endswith(f.ending)), None)
    if found is None:
        endings = ", ".join(form.ending for form in FORMS.values())
        raise ModelError(f"{path} is no exported network", f"Their names end in {endings}.")
    if not path.is_file():
        raise ModelError(f"there is no file {path}")
    _need(found)
    try:
        return found.read(path)
    except ModelError:
        raise
    except Exception as error:  # each library raises what it likes of a damaged file
        reason = str(error).partition("\n")[0]
        raise ModelError(f"{path} cannot be opened: {reason}", "Export it again.") from None


def _need(form: Form) -> None:
    for package in form.needs:
        try:
            importlib.import_module(package)
        except ImportError:
            raise MissingExtraError(package, "export", "for this form") from None


def _write_onnx(net: nn.Module, example: Tensor, path: Path, about: Mapping[str, Any]) -> None:
    import onnx

    with quiet():
        program = torch.onnx.export(
            net, (example,), dynamo=True, verbose=False, optimize=True,
            input_names=[IMAGES], output_names=list(names_of(net)),
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, {ABOUT: json.dumps(about)})
    onnx.save(model, path)


def _read_onnx(path: Path) -> Opened:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = usable_cores()
    # Its threads would go on asking for work after an answer, and take the cores from others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: Pixels) -> Outputs:
        found = session.run(names, {IMAGES: np.ascontiguousarray(images)})
        return dict(zip(names, found, strict=True))

    return Opened(run, _about(session.get_modelmeta().custom_metadata_map.get(ABOUT), path))


def _write_torch(net: nn.Module, example: Tensor, path: Path, about: Mapping[str, Any]) -> None:
    with quiet():
        program = torch.export.export(
            net, (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
        )
        torch.export.save(program, path, extra_files={ABOUT: json.dumps(about)})


def _read_torch(path: Path) -> Opened:
    extra = {ABOUT: ""}
    with quiet():
        program = torch.export.load(path, extra_files=extra)
    about = _about(extra[ABOUT], path)
    net = program.module()

    def run(images: Pixels) -> Outputs:
        with torch.inference_mode():
            found = net(torch.from_numpy(np.ascontiguousarray(images)))
        return {n: t.numpy() for n, t in zip(about["outputs"], found, strict=True)}

    return Opened(run, about)


def _write_openvino(net: nn.Module, example: Tensor, path: Path, about: Mapping[str, Any]) -> None:
    """Two files: PATH, and the weights beside it with the ending .bin."""
    import openvino

    onnx_file = path.with_suffix(".onnx.tmp")
    try:
        _write_onnx(net, example, onnx_file, about)
        model = openvino.convert_model(onnx_file)
    finally:
        onnx_file.unlink(missing_ok=True)
    model.set_rt_info(json.dumps(about), ABOUT)
    openvino.save_model(model, path, compress_to_fp16=False)


def _read_openvino(path: Path) -> Opened:
    import openvino

    model = openvino.Core().read_model(path)
    about = _about(str(model.get_rt_info(ABOUT).value), path)
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(model, "CPU", hints)

    def run(images: Pixels) -> Outputs:
        found = compiled([np.ascontiguousarray(images)])
        return {name: np.array(found[name]) for name in about["outputs"]}

    return Opened(run, about)


def names_of(net: nn.Module) -> tuple[str, ...]:
    """The names of a packed network's outputs."""
    outputs: Any = net.outputs
    return tuple(outputs)


def _about(text: str | None, path: Path) -> Mapping[str, Any]:
    if not text:
        raise ModelError(
            f"{path} does not say what its classes are: it was not written by `striate export`"
        )
    found: Mapping[str, Any] = json.loads(text)
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters talk of their own insides: what matters is tried afterwards."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


FORMS = {
    "onnx": Form(".onnx", _write_onnx, _read_onnx, ("onnx", "onnxscript", "onnxruntime")),
    "torch": Form(".pt2", _write_torch, _read_torch),
    "openvino": Form(".xml", _write_openvino, _read_openvino, ("onnx", "onnxscript", "openvino")),
}
