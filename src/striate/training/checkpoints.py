"""Checkpoints: safetensors and JSON, whole or not at all, verified before use (F1, F6, F19).

checkpoints/step-00001200/model.safetensors   the weights to use (the average, if one is kept)
                          state.safetensors   what only training needs: optimiser, raw weights
                          manifest.json       position, scores, sizes and SHA-256; written last
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from striate.core.errors import RunError
from striate.core.files import (
    disk_faults_explained,
    sha256,
    sync_folder,
    write_atomically,
    write_json,
)

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint; the tensors are read when asked for."""

    path: Path
    manifest: dict[str, Any]

    @property
    def step(self) -> int:
        return int(self.manifest["step"])

    def model(self) -> Tensors:
        return _read(self.path / "model.safetensors")

    def state(self) -> Tensors:
        return _read(self.path / "state.safetensors")


def save(folder: Path, manifest: dict[str, Any], model: Tensors, state: Tensors) -> Path:
    """Write `folder/step-N` under a temporary name and rename it. Returns its path.

    Raises RunError on a full disk; earlier checkpoints are untouched, and no stray files stay.
    """
    final = folder / f"step-{manifest['step']:08d}"
    temporary = folder / f".{final.name}.tmp"
    contents = {"model.safetensors": model, "state.safetensors": state}
    encoded = {name: save_tensors(_plain(tensors)) for name, tensors in contents.items()}
    needed = sum(len(data) for data in encoded.values())
    for stray in folder.glob(".step-*.tmp"):  # left by a kill in the middle of a save
        shutil.rmtree(stray, ignore_errors=True)
    with disk_faults_explained(final, needed):
        try:
            temporary.mkdir(parents=True)
            for name, data in encoded.items():
                write_atomically(temporary / name, data)
            complete = {**manifest, "files": _sums(temporary, encoded)}
            write_json(temporary / "manifest.json", {**complete, "sha256": _own_sum(complete)})
            if final.exists():  # the same step again, after a resume: the new one is as good
                shutil.rmtree(final)
            temporary.replace(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync_folder(folder)
    return final


def write_tensors(path: Path, tensors: Tensors) -> None:
    """A file of tensors by name, atomically."""
    write_atomically(path, save_tensors(_plain(tensors)))


def read_tensors(path: Path) -> Tensors:
    """What `write_tensors` wrote. Raises RunError."""
    return _read(path)


def latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """(the newest sound checkpoint, what was wrong with newer ones)."""
    faults: list[str] = []
    for path in _newest_first(folder):
        try:
            return verified(path), faults
        except RunError as error:
            faults.append(error.message)
    return None, faults


def best(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """(the sound checkpoint with the best validation score, what was wrong with others)."""
    sound, faults = [], []
    for path in _newest_first(folder):
        try:
            sound.append(verified(path))
        except RunError as error:
            faults.append(error.message)
    scored = [c for c in sound if c.manifest.get("val_score") is not None]
    if not scored:
        return (sound[0] if sound else None), faults
    return max(scored, key=_score_then_step), faults


def verified(path: Path) -> Checkpoint:
    """Check sizes and hashes. Raises RunError that names the damaged file."""
    manifest = _manifest(path)
    for name in _FILES:
        size, digest = (manifest["files"][name][key] for key in ("bytes", "sha256"))
        file = path / name
        if not file.is_file() or file.stat().st_size != size:
            raise RunError(f"{path.name} is incomplete: size of {name} differs")
        if sha256(file) != digest:
            raise RunError(f"{path.name} is damaged: hash of {name} differs")
    return Checkpoint(path, manifest)


def prune(folder: Path, last: int = 1) -> int:
    """Keep the best and the last checkpoints by their manifests; returns the bytes freed."""
    known = [c for path in _newest_first(folder) if (c := _unverified(path))]
    scored = [c for c in known if c.manifest.get("val_score") is not None]
    keep = known[:last] + ([max(scored, key=_score_then_step)] if scored else [])
    freed = 0
    for old in known:
        if old not in keep:
            freed += sum(file.stat().st_size for file in old.path.iterdir())
            doomed = old.path.with_name(f".{old.path.name}.tmp")  # a kill leaves no half of it
            shutil.rmtree(doomed, ignore_errors=True)
            old.path.replace(doomed)
            shutil.rmtree(doomed)
    return freed


def _score_then_step(checkpoint: Checkpoint) -> tuple[float, int]:
    return checkpoint.manifest["val_score"], checkpoint.step


def _unverified(path: Path) -> Checkpoint | None:
    try:
        return Checkpoint(path, _manifest(path))
    except RunError:
        return None


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((path / "manifest.json").read_text("utf-8"))
        if manifest["sha256"] != _own_sum(manifest):
            raise RunError(f"{path.name} is damaged: hash of manifest.json differs")
        int(manifest["step"])
        for name in _FILES:
            int(manifest["files"][name]["bytes"]), str(manifest["files"][name]["sha256"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise RunError(f"{path.name} is damaged: manifest.json ({reason})") from None
    return manifest


_FILES = ("model.safetensors", "state.safetensors")


def _newest_first(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.glob("step-*"), reverse=True))


def _sums(folder: Path, encoded: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """Hashes of what reached the disk, not of what was meant to."""
    return {n: {"bytes": len(data), "sha256": sha256(folder / n)} for n, data in encoded.items()}


def _own_sum(manifest: dict[str, Any]) -> str:
    """Hash of all other entries, so that a flipped bit in a score is noticed too."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _plain(tensors: Tensors) -> Tensors:
    """Own, contiguous CPU memory: the file then depends on values alone."""
    return {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}


def _read(path: Path) -> Tensors:
    try:
        return load_tensors(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None
