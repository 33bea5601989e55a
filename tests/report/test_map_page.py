"""The map's page and files from points, without a browser."""

import base64
import csv
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from striate.report.map_page import MapPoints, map_csv, map_html, map_pictures

EVIL = "</script><script>hacked()</script>"


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    labels = [EVIL if i % 3 else "it, $x" for i in range(40)]
    columns = {"label": labels, "split": ["train"] * 40}
    thumbs = rng.integers(0, 255, (20, 8, 8, 1), dtype=np.uint8)
    return MapPoints(rng.normal(size=(40, 2)), [f"{i}<b>.png" for i in range(40)], columns,
                     thumbs, np.arange(0, 40, 2))  # fmt: skip


def test_page(points):
    text = map_html(points, title=EVIL, notes=[EVIL], version="1")
    assert "<script>hacked" not in text
    assert "default-src 'none'" in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    places = np.frombuffer(base64.b64decode(data["places"]), "<u2").reshape(40, 2)
    assert places.min() == 0 or places.max() == 65535
    for axis, way in ((0, 1), (1, -1)):  # upwards as on paper
        assert np.corrcoef(places[:, axis], points.places[:, axis])[0, 1] == pytest.approx(
            way, abs=1e-6
        )
    codes = np.frombuffer(base64.b64decode(data["columns"][0]["codes"]), "<u2")
    assert [data["columns"][0]["kinds"][c] for c in codes] == points.columns["label"]
    thumbs = np.frombuffer(base64.b64decode(data["thumbs"]), "<i4")
    assert thumbs.tolist()[:4] == [0, -1, 1, -1]
    assert len(re.findall('class="sheet"', text)) == 1


def test_pictures_and_csv(points):
    png, svg = map_pictures(points, "title $a_b$")
    assert Image.open(io.BytesIO(png)).size[0] > 1000
    assert svg.startswith(b"<?xml")
    rows = list(csv.reader(io.StringIO(map_csv(points))))
    assert rows[0] == ["x", "y", "image", "label", "split"]
    assert rows[2][2:] == ["1<b>.png", EVIL, "train"]
    assert len(rows) == 41


def test_one_place_and_many_kinds():
    labels = {"label": [str(i % 30) for i in range(60)]}
    none = np.zeros((0, 8, 8, 3), dtype=np.uint8)
    many = MapPoints(np.zeros((60, 2)), ["x"] * 60, labels, none, np.zeros(0, dtype=np.int64))
    text = map_html(many, title="t", notes=[], version="1")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert len(set(data["columns"][0]["colours"])) == 11  # ten, and grey for the others
    map_pictures(many, "t")
