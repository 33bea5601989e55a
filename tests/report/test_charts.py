"""Charts: round ticks, points where they belong, gaps, and names that are only names."""

import json
import re
from html import unescape

import numpy as np
import pytest

from striate.report.charts import Line, line_chart, ticks
from striate.report.page import between, figure3, md, words


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (1, 7, [2, 4, 6]),
        (0.231, 0.938, [0.4, 0.6, 0.8]),
        (0, 1500, [0, 500, 1000, 1500]),
        (-1e-5, 1e-5, [-1e-5, -5e-6, 0, 5e-6, 1e-5]),
    ],
)
def test_ticks_are_round(low, high, wanted):
    assert ticks(low, high) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(1, 3, [1, 2, 3]), (1, 8, [2, 4, 6, 8]), (1, 20, [5, 10, 15, 20]),
     (0, 40, [0, 10, 20, 30, 40]), (0.5, 1.5, [1])],
)  # fmt: skip
def test_what_is_counted_has_whole_ticks(low, high, wanted):
    assert ticks(low, high, counted=True) == wanted


def test_points_are_where_the_axes_say():
    svg = line_chart([Line("a", [0, 1, 2], [0.0, 5.0, 10.0])], "t", "x", "y")
    found = re.search(r'<path class="curve" d="([^"]*)"', svg)[1]
    points = [tuple(map(float, p.split(","))) for p in re.split("[ML]", found)[1:]]
    assert points[0][0] < points[1][0] < points[2][0]
    assert points[1][1] == pytest.approx((points[0][1] + points[2][1]) / 2)
    data = json.loads(unescape(re.search(r'data-lines="([^"]*)"', svg)[1]))
    assert data["lines"] == [{"label": "a", "x": [0, 1, 2], "y": [0, 5, 10]}]
    left, right = data["frame"][4:6]
    assert (points[0][0], points[2][0]) == (left, right)


def test_gaps_constant_and_empty():
    svg = line_chart([Line("a", [0, 1, 2, 3], [1.0, None, np.nan, 2.0])], "t", "x", "y")
    assert re.search(r'd="([^"]*)"', svg)[1].count("M") == 2
    assert "<path" in line_chart([Line("a", [1, 2], [3.0, 3.0])], "t", "x", "y")
    assert "<path" in line_chart([Line("a", [1], [3.0])], "t", "x", "y")
    assert line_chart([Line("a", [], [])], "t", "x", "y") == "<p>Nothing was recorded.</p>"
    assert "NaN" not in line_chart([Line("a", [0, 1], [np.nan, 1.0])], "t", "x", "y")


def test_names_are_inert():
    evil = '"><script>x()</script>'
    svg = line_chart([Line(evil, [0, 1], [0.0, 1.0])], evil, evil, evil)
    assert "<script" not in svg
    assert '">x' not in svg


def test_words_and_figures():
    assert words("mean_area_under_roc") == "mean area under ROC"
    assert words("top5_error") == "top-5 error"
    assert (figure3(None), figure3(float("nan")), figure3(0.12345)) == ("–", "–", "0.123")
    assert between(None) == "–"
    assert between((0.1, 0.25)) == "0.100–0.250"
    assert md("a|b\n<c> [d](e)") == r"a\|b &lt;c&gt; \[d\](e)"
