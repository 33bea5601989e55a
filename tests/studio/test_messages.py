"""The page's types are the messages, and the built page is that of the sources."""

import gzip
import hashlib
import re
from pathlib import Path

import pytest

from striate.core.recipe import Recipe
from striate.core.recipe_io import flat, knob_names
from striate.studio.knobs import knobs
from striate.studio.typescript import typescript, written

ROOT = Path(__file__).parents[2]
WEB, STATIC = ROOT / "web", ROOT / "src" / "striate" / "studio" / "static"
REMEDY = "run `make studio`"


def test_the_types_are_those_of_the_messages():
    assert (WEB / "src" / "messages.ts").read_text(encoding="utf-8") == typescript(), REMEDY


def test_types_are_written_as_typescript():
    assert written(list[float | None]) == "(number | null)[]"
    assert written(dict[str, list[int]]) == "Record<string, number[]>"
    with pytest.raises(ValueError, match="no TypeScript"):
        written(bytes)


def test_the_built_page_is_that_of_the_sources():
    names = ("src", "public", "index.html", "package.json", "package-lock.json", "tsconfig.json",
             "vite.config.ts")  # fmt: skip
    places = [WEB / name for name in names]
    files = [f for p in places for f in (p.rglob("*") if p.is_dir() else [p]) if f.is_file()]
    total = hashlib.sha256()
    for name, file in sorted((f.relative_to(WEB).as_posix(), f) for f in files):
        total.update(name.encode() + b"\0" + file.read_bytes() + b"\0")
    assert (STATIC / "built-from.txt").read_text().strip() == total.hexdigest(), REMEDY


def test_the_bundle_is_small_and_asks_nobody_else():
    files = [f for f in STATIC.rglob("*") if f.suffix in (".js", ".css", ".html", ".svg")]
    assert sum(len(gzip.compress(f.read_bytes())) for f in files) <= 200_000
    for file in files:
        found = set(re.findall(r"https?://[\w.-]+", file.read_text(encoding="utf-8")))
        assert found <= {"http://www.w3.org"}, file  # the name of SVG, which is no address
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*src=)|style=|\son\w+=", page)  # the policy forbids these


def test_the_form_has_every_knob():
    found = {knob.name: knob for knob in knobs()}
    assert found.keys() == {*knob_names()} - {"data.source"}
    usual = flat(Recipe())
    for name, knob in found.items():
        default = usual[name]
        assert knob.default == (list(default) if isinstance(default, tuple) else default)
        assert len(knob.doc) > 10, name
    assert found["optim.lr"].kind == "number"
    assert found["optim.batch_size"].kind == "whole"
    assert found["augment.vertical_flip"].kind == "yes_no"
    assert "squash" in found["data.resize"].choices
    assert "muon" in found["optim.rule"].choices
    assert found["optim.momentum"].high == 1
