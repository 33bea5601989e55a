"""The documentation builds as a site: its links lead somewhere, its knobs are those there are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import striate
from striate.core.recipe_text import reference

ROOT = Path(__file__).parents[1]


def test_the_page_of_knobs_is_that_of_the_recipe():
    """`make site` writes it."""
    assert (ROOT / "docs" / "knobs.md").read_text(encoding="utf-8") == reference()


def test_the_page_of_the_library_has_all_that_it_offers():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for place in striate._FRONT_DOOR.values():
        assert f"::: {place.replace(':', '.')}\n" in text


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False,
                          env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    assert (tmp_path / "knobs" / "index.html").is_file()
    assert "Raises RunError" in (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    external = [p for p in tmp_path.rglob("*.html") if 'src="http' in p.read_text(encoding="utf-8")]
    assert external == []
