"""Maps of data sets and of what a network makes of them."""

import csv
import json

import numpy as np
import pytest

import striate
from striate.atlas.mapping import _components
from striate.core.errors import DataError, RunError
from tests.conftest import QUICK, encoded, picture, write_tree


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
    found = striate.make_map(by=striate.Run(trained[0]), method="pca")
    assert len(found.points.names) == 60
    assert set(found.points.columns) == {"label", "split", "predicted", "verdict"}
    assert found.points.columns["verdict"].count("right") > 55
    assert "fastnet" in found.by


def test_classes_that_the_network_does_not_know(trained, tmp_path):
    other = write_tree(tmp_path / "other", {"red": 5, "violet": 5})
    found = striate.make_map([other], by=striate.Run(trained[0]), method="pca")
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


def test_data_sets_of_one_name_and_python_objects(tmp_path):
    a = write_tree(tmp_path / "a" / "imgs", {"red": 3, "blue": 3})
    b = write_tree(tmp_path / "b" / "imgs", {"red": 3, "blue": 3})
    found = striate.make_map([a, b], method="pca")
    assert len(set(found.points.columns["data set"])) == 2
    images = np.random.default_rng(0).integers(0, 255, (20, 16, 16, 3), dtype=np.uint8)
    run = striate.train((images, np.arange(20) % 2), run=tmp_path / "run", **QUICK)
    with pytest.raises(RunError, match="Python objects"):
        striate.make_map(by=striate.Run(run.path), method="pca")
    own = striate.Run(run.path, (images, np.arange(20) % 2))
    assert len(striate.make_map(by=own, method="pca").points.names) == 20
    assert len(striate.make_map([(images, np.arange(20) % 2)], method="pca").points.names) == 20


def test_several_labels(tmp_path):
    lines = ["image,label"]
    for i in range(36):
        red, blue = i % 2, i // 2 % 2
        (tmp_path / f"{i}.png").write_bytes(encoded(picture((200 * red, 40, 200 * blue), seed=i)))
        names = [n for n, there in (("red", red), ("blue", blue)) if there] or ["none"]
        lines.append(f"{i}.png,{';'.join(names)}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    run = striate.train(tmp_path / "labels.csv", run=tmp_path / "run", **{**QUICK, "epochs": 30})
    found = striate.make_map(by=run, method="pca")
    assert "blue, red" in found.points.columns["label"]
    assert "unknown class" not in found.points.columns["verdict"]
    assert found.points.columns["verdict"].count("right") > 20


def test_few_images_and_wide_features():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (8, 8, 8, 3), dtype=np.uint8)
    found = striate.make_map([(images, np.arange(8) % 2)], method="pca")
    assert found.quality.neighbours == 3
    assert "(42.86% by chance)" in found.sentences()[1]
    assert _components(rng.normal(size=(30, 9000)).astype(np.float32)).axes.shape == (29, 9000)


def test_wrong_input(tmp_path, striate_cli):
    with pytest.raises(DataError, match="no data to map"):
        striate.make_map()
    one = write_tree(tmp_path / "one", {"red": 1})
    with pytest.raises(DataError, match="a map needs 4 or more"):
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
