"""Labs: every claim has one, its verdict is measured, and a claim turned around changes it."""

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest

from striate.cli.main import VERBS
from striate.core.errors import StriateError
from striate.labs.claims import ELSEWHERE, LABS, NOT_YET
from striate.labs.lab import Finding, Lab, Trial, find_labs, judged, run_lab, short, summary
from striate.labs.page import explained, lab_html, write_book

SOURCES = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def once():
    """Every lab with its first seed."""
    return {key: lab.measure(0, False) for key, lab in LABS.items()}


def turned(lab):
    """The lab of the opposite claim."""
    rules = {verdict: (lambda f, rule=rule: not rule(f)) for verdict, rule in lab.rules.items()}
    return replace(lab, rules=rules)


def test_every_claim_of_the_sources_is_shown():
    claims = re.findall(r"^\| ([LODTME]\d+) \|", SOURCES, re.MULTILINE)
    assert len(claims) > 45
    shown = {lab.id for lab in LABS.values()}
    assert set(claims) == shown | ELSEWHERE.keys() | {*NOT_YET}
    assert not shown & (ELSEWHERE.keys() | {*NOT_YET})
    assert {command.split()[1] for command in ELSEWHERE.values()} <= VERBS.keys()


@pytest.mark.parametrize("key", LABS)
def test_a_lab_finds_its_verdict_and_its_opposite_does_not(key, once):
    lab, trial = LABS[key], once[key]
    assert judged(lab, [trial]) == lab.verdict
    assert judged(turned(lab), [trial]) == "undetermined"
    assert lab.headline in trial.figures
    assert len(lab.rules) == 1


def test_the_lectures_figures(once):
    figures = {key: trial.figures for key, trial in once.items()}
    cut = figures["O3-momentum"]
    assert [round(cut[f"{form} when the rate is cut"], 3) for form in "ADE"] == [
        0.113,
        0.113,
        0.602,
    ]
    assert figures["D2-crops"]["crops of 224 in 256, with mirror images"] == 2178
    assert figures["M1-parameters"]["AlexNet, two groups: parameters"] == 60_965_224
    assert figures["E1-counts"]["precision"] == pytest.approx(1 / 3)
    assert figures["E1-counts"]["recall"] == 0.5
    twenty = figures["T3-twenty-examples"]
    assert twenty["sound: cost at the start"] == pytest.approx(2.3026, abs=1e-4)
    assert twenty["sound: cost after 200 epochs"] < 0.01
    rates = [row[1] for row in once["O7-schedules"].rows[1:]]
    assert [float(rate) for rate in rates] == pytest.approx(
        [0.01] * 3 + [0.0099] * 3 + [0.009801] * 3 + [0.00970299], abs=1e-8
    )


def test_nine_corrections_say_both_figures():
    both = {lab.id for lab in LABS.values() if lab.deck}
    assert both == {"L5", "L11", "L13", "O5", "O7", "D2", "T5", "M1", "E2"}
    assert all(lab.truth for lab in LABS.values() if lab.deck)


def test_seeds_that_disagree_determine_nothing():
    def measure(seed, full):
        return Trial({"x": float(seed)})

    lab = Lab("X1", "x", "c", "d", measure, {"confirmed": lambda f: f["x"] < 2}, "x", "l",
              "confirmed", seeds=4)  # fmt: skip
    *trials, finding = run_lab(lab)
    assert finding.verdict == "undetermined"
    assert len(trials) == 4
    assert run_lab(lab, seeds=2) is not None
    *_, two = run_lab(lab, seeds=2)
    assert two.verdict == "confirmed"
    figure = finding.figures["x"]
    assert (figure.mean, figure.least, figure.largest) == (1.5, 0, 3)


def test_intervals_are_students():
    scipy = pytest.importorskip("scipy.stats")
    values = [0.1, 0.5, 0.2, 0.4]
    expected = scipy.ttest_1samp(values, 0).confidence_interval(0.95)
    assert summary("x", values).interval == pytest.approx((expected.low, expected.high))
    assert summary("x", [1.0]).interval is None
    assert summary("x", [1.0]).line() == "1"


@pytest.mark.parametrize(
    ("value", "text"),
    [(60_965_224, "60,965,224"), (0.123456, "0.1235"), (float("inf"), "∞"), (-3.0, "-3"),
     (float("nan"), "not a number"), (1e-12, "1e-12"), (-0.0, "0")],
)  # fmt: skip
def test_figures_are_short(value, text):
    assert short(value) == text


def test_labs_are_found_by_id_name_or_both():
    assert [lab.name for lab in find_labs("o3", LABS)] == ["momentum"]
    assert find_labs("O3-momentum", LABS) == find_labs("momentum", LABS)
    assert len(find_labs("all", LABS)) == len(LABS)
    with pytest.raises(StriateError, match="no lab"):
        find_labs("momentun", LABS)


def test_pages(once, tmp_path):
    found = [
        Finding(lab, lab.verdict, {n: summary(n, [v]) for n, v in once[key].figures.items()},
                [once[key]], 0.1, 0)
        for key, lab in LABS.items()
    ]  # fmt: skip
    for finding in found:
        page = html.unescape(lab_html(finding))
        assert finding.lab.claim in page
        assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
        assert any(finding.verdict in line for line in explained(finding))
    index = write_book(found, tmp_path).read_text()
    for lab in LABS.values():
        assert f"({lab.key}.md)" in index
        text = (tmp_path / f"{lab.key}.md").read_text()
        for picture in re.findall(r"\]\((.+?\.png)\)", text):
            assert (tmp_path / picture).is_file()


def test_the_command(striate_cli, tmp_path):
    code, out, _ = striate_cli("lab")
    assert code == 0
    assert all(lab.name in out for lab in LABS.values())
    code, out, _ = striate_cli("lab", "O3", "--json")
    assert code == 0
    assert "conditional" in out
    assert (tmp_path / "labs" / "O3-momentum.html").is_file()
    code, _, err = striate_cli("lab", "O33")
    assert code == 2
    assert "O3" in err
    assert striate_cli("lab", "O3", "--seed", "-1")[0] == 2
    (tmp_path / "file").write_text("")
    assert striate_cli("lab", "O3", "--out", tmp_path / "file")[0] == 2
