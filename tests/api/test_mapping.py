"""Maps of data sets and of what a network makes of them."""

import csv
import json

import numpy as np
import pytest

import striate
from striate.core.errors import DataError
from tests.conftest import write_tree


def test_two_data_sets_by_pixels(tree, tmp_path):
    other = write_tree(tmp_path / "other", {"red": 5, "violet": 5})
    found = striate.make_map([tree, other], method="pca")
    columns = found.points.columns
    assert len(found.points.names) == 70
    assert set(columns) == {"label", "split", "data set"}
    assert columns["data set"].count("other") == 10
    assert "violet" in columns["label"]
    places = found.points.places
    labels = np.array(columns["label"])
    red, blue = places[labels == "red"].mean(axis=0), places[labels == "blue"].mean(axis=0)
    assert np.linalg.norm(red - blue) > 3 * places[labels == "red"].std()
    assert found.explained > 0.5
    page = found.save(tmp_path / "out", "a title")
    assert {p.name for p in page.parent.iterdir()} == {
        "map.html", "map.png", "map.svg", "map.csv", "map.json"
    }  # fmt: skip
    rows = list(csv.reader((page.parent / "map.csv").read_text().splitlines()))
    assert float(rows[1][0]) == pytest.approx(places[0, 0], abs=1e-3)
    assert json.loads((page.parent / "map.json").read_text())["images"] == 70


def test_by_a_network(trained):
    found = striate.make_map(run=striate.Run(trained[0]), method="pca")
    assert len(found.points.names) == 60
    assert set(found.points.columns) == {"label", "split", "predicted", "verdict"}
    assert found.points.columns["verdict"].count("right") > 55
    assert "fastnet" in found.by


def test_classes_that_the_network_does_not_know(trained, tmp_path):
    other = write_tree(tmp_path / "other", {"red": 5, "violet": 5})
    found = striate.make_map([other], run=striate.Run(trained[0]), method="pca")
    assert found.points.columns["verdict"][5:] == ["unknown class"] * 5


def test_tsne_of_a_test_split_alone_with_a_damaged_file(tmp_path):
    pytest.importorskip("openTSNE", reason="pip install 'striate[maps]'")
    root = write_tree(tmp_path / "d", {"test/red": 12, "test/blue": 12})
    (root / "test" / "red" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    found = striate.make_map([root], seed=1)
    assert len(found.points.names) == 23
    assert "1 image could not be read" in found.notes[0]
    assert found.quality.stable is not None
    again = striate.make_map([root], seed=1)
    np.testing.assert_array_equal(found.points.places, again.points.places)


def test_fewer_images(tree):
    found = striate.make_map([tree], method="pca", images=20)
    assert 18 <= len(found.points.names) <= 22
    assert len(found.points.thumbnails) == len(found.points.names)


def test_wrong_input(tmp_path, striate_cli):
    with pytest.raises(DataError, match="no data to map"):
        striate.make_map()
    one = write_tree(tmp_path / "one", {"red": 1})
    with pytest.raises(DataError, match="a map needs two or more"):
        striate.make_map([one])
    few = write_tree(tmp_path / "few", {"red": 2, "blue": 2})
    with pytest.raises(DataError, match="t-SNE needs 8 images"):
        striate.make_map([few])
    for wrong, told in (
        ((few, "--images", "1"), "--images 1: expected 2 or more"),
        ((few, "--perplexity", "0"), "--perplexity 0: expected 1 or more"),
        ((tmp_path / "nowhere",), "no data at"),
        ((), "no data to map"),
    ):
        code, _, err = striate_cli("map", *wrong)
        assert code == 2
        assert told in err
    code, out, err = striate_cli("map", few, "--method", "pca", "--out", tmp_path / "m", "--json")
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["images"] == 4


def test_without_the_extra(monkeypatch):
    import sys

    from striate.atlas.embed import tsne
    from striate.core.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(MissingExtraError) as told:
        tsne(np.zeros((20, 3)))
    assert "striate[maps]" in told.value.hint
