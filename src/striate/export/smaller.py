"""ONNX files with smaller numbers: half precision, or 8-bit integers from example images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from striate.core.arrays import Pixels
from striate.export.forms import quiet
from striate.export.packed import IMAGES

_PRODUCTS = ["Conv", "Gemm", "MatMul"]


def halve(path: Path) -> None:
    """Weights and products in float16, in place; inputs and outputs stay as they are."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(onnx.load(path), keep_io_types=True)
    onnx.save(model, path)


def quantise(path: Path, batches: Iterator[Pixels]) -> None:
    """Products in 8-bit integers, in place: static quantisation, a scale for each output channel
    of the weights, and for activations the range that these images show."""
    from onnxruntime import quantization as quant

    class Reader(quant.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Pixels] | None:
            images = next(batches, None)
            return None if images is None else {IMAGES: images}

    prepared, result = (path.with_name(f"{path.name}.{end}") for end in ("pre", "int8"))
    shapes = quant.shape_inference.quant_pre_process
    try:
        with quiet():
            shapes(str(path), str(prepared), skip_symbolic_shape=True)
            quant.quantize_static(
                str(prepared), str(result), Reader(), quant_format=quant.QuantFormat.QDQ,
                op_types_to_quantize=_PRODUCTS, per_channel=True,
                activation_type=quant.QuantType.QUInt8, weight_type=quant.QuantType.QInt8,
            )  # fmt: skip
        result.replace(path)
    finally:
        prepared.unlink(missing_ok=True)
        result.unlink(missing_ok=True)
