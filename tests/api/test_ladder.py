"""The ladder: every rung is trained or fitted, scored and timed on the same pictures."""

import html
import json
import sys

import numpy as np
import pytest

import striate
from striate.api.ladder import stream_ladder
from striate.ladder.rungs import RUNGS, TRAINED
from striate.models.detectors.proposals import selective_search, windows
from striate.report.ladder_page import seconds_in_words
from tests.conftest import DETECTING as KNOBS
from tests.conftest import rectangles as drawn

pytestmark = pytest.mark.slow

pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def data():
    return {"train": drawn(24, 0), "val": drawn(6, 1), "test": drawn(8, 2)}


@pytest.fixture(scope="module")
def climbed(data):
    return striate.climb_ladder(data, **{**KNOBS, "epochs": 2})


def test_every_rung_is_scored_and_timed(climbed):
    assert [rung.name for rung in climbed.rungs] == list(RUNGS)
    for rung in climbed.rungs:
        assert rung.total > 0
        assert rung.evaluation.scores["n"] == 8
        told = rung.to_json()
        assert told["lecture"]
        assert told["seconds_an_image"]["total"] == pytest.approx(rung.total)
        json.dumps(told)
    by_name = {rung.name: rung for rung in climbed.rungs}
    assert "regions" in by_name["fast_rcnn"].seconds
    assert "windows an image" in by_name["window"].notes[0]
    # bright rectangles are segments of their own, so the second rung finds them without learning
    assert by_name["rcnn"].evaluation["average_precision_50"] > 0.3
    assert set(TRAINED) < set(RUNGS)


def test_the_page_shows_every_rung(climbed, tmp_path):
    page = climbed.write(tmp_path / "new" / "folder")
    text = page.read_text("utf-8")
    for name, lecture in RUNGS.items():
        assert f"<code>{name}</code>" in text
        assert html.escape(lecture, quote=False) in text
    assert "data:image/webp" in text
    assert 'src="http' not in text
    told = json.loads((page.parent / "ladder.json").read_text("utf-8"))
    assert [rung["rung"] for rung in told["rungs"]] == list(RUNGS)


def test_seconds_in_words():
    said = [seconds_in_words(value) for value in (140.2, 49.0, 2.24, 0.4712, 0.0047, 2.9e-6)]
    assert said == ["140 s", "49 s", "2.2 s", "471 ms", "4.7 ms", "0.0029 ms"]


def test_windows_are_inside_the_picture_and_cover_it():
    found = windows(128)
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2:] <= 128 + 1e-9).all()
    seen = np.zeros((128, 128), dtype=bool)
    for left, top, right, bottom in found.round().astype(int):
        seen[top:bottom, left:right] = True
    assert seen.all()
    assert len({tuple(row) for row in found.tolist()}) == len(found)


def test_selective_search_finds_what_stands_out():
    image = np.full((100, 140, 3), 30, dtype=np.uint8)
    image[20:60, 50:110] = (200, 40, 40)
    found = selective_search(image, 100)
    apart = np.abs(found - [50, 20, 110, 60]).max(axis=1).min()
    assert apart <= 3
    assert len(selective_search(image, 2)) == 2


def test_an_unknown_rung_and_data_without_boxes_are_refused(data, striate_cli):
    with pytest.raises(striate.StriateError, match="no rung 'fast'"):
        striate.climb_ladder(data, rungs=("fast",))
    code, _, err = striate_cli("ladder", "digits", "--rungs", "window")
    assert "model.detector" not in err  # nobody named it
    assert code == 2
    assert "no boxes" in err or "boxes around objects" in err


def test_what_would_fail_in_the_end_is_said_at_the_beginning(
    data, striate_cli, tmp_path, monkeypatch
):
    (tmp_path / "page").write_text("a file")
    code, out, err = striate_cli("ladder", "boxes", "--out", tmp_path / "page")
    assert code != 0
    assert "cannot write" in err
    assert "window" not in out
    monkeypatch.setitem(sys.modules, "cv2.ximgproc.segmentation", None)
    with pytest.raises(striate.StriateError, match="needed for selective search"):
        next(stream_ladder(data))
    monkeypatch.setitem(sys.modules, "cv2", None)
    next(stream_ladder(data, rungs=("window",), **KNOBS))


@pytest.mark.parametrize("verb", ["ladder", "map"])
def test_a_folder_that_is_a_file_is_refused_before_the_work(verb, striate_cli, tmp_path):
    (tmp_path / "page").write_text("a file")
    code, _, err = striate_cli(verb, "digits", "--out", tmp_path / "page" / "deep")
    assert code != 0
    assert "page is a file" in err
