"""Labs: every claim has one, its verdict is measured, and a claim turned around changes it."""

import html
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from striate.cli.main import VERBS
from striate.core.errors import DataError, StriateError
from striate.labs.bench import OWN_SIDE, Share, own_images
from striate.labs.claims import ELSEWHERE, LABS, captions, radiance
from striate.labs.lab import Finding, Lab, Trial, find_labs, judged, run_lab, short, summary
from striate.labs.letters import rendered
from striate.labs.page import explained, lab_html, write_book
from striate.labs.scenes import SIDE, draw, every_triple, in_words, is_true
from striate.labs.scenes import captions as captions_of
from striate.labs.views import SPAN, views_from
from tests.conftest import write_tree

SOURCES = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")


LONG = ("M6-captions", "T4-radiance")
"""Labs that need most of a minute; here they take a few steps, which is too few for a verdict."""


SLOW = {
    "D2-augmentations", "D4-crowding", "D7-synthetic", "L12-batch-norm", "M1-depth", "M2-top-five",
    "M3-pretrained", "M5-first-filters", "T2-initialisation", "T4-random-labels",
    "T4-regularisers", "T5-reading-rules",
}  # fmt: skip
"""Labs that train for several seconds a seed."""


@pytest.fixture(scope="module")
def once():
    """Every lab with its first seed, when it is asked for."""

    @cache
    def measured(key):
        return LABS[key].measure(0, False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(captions.STEPS, False, 20)
        patch.setitem(radiance.STEPS, False, 20)
        yield measured


def _reached(name, parameters, fitted, new):
    return {
        f"{name}: parameters": parameters, f"{name}: dB on the views that were fitted": fitted,
        f"{name}: dB on new views": new,
    }  # fmt: skip


REACHED = {
    "M6-captions": {
        "combinations seen in training: captions all true": 1.0,
        "combinations never seen: captions all true": 0.98,
        "the same, begun with that combination": 0.98,
        "attention on the first object while it is named": 0.6,
        "attention on the second object while it is named": 0.9,
    },
    "T4-radiance": {
        "numbers in the views": 24_576,
        **_reached("field", 8516, 25.1, 21.2), **_reached("large field", 25_796, 27.7, 21.1),
        **_reached("planes", 294_912, 25.7, 15.4),
        **_reached("fewer planes", 25_392, 17.0, 14.7),
    },
}  # fmt: skip
"""Figures like those that `striate lab` prints for them."""


def turned(lab):
    """The lab of the opposite claim."""
    rules = {verdict: (lambda f, rule=rule: not rule(f)) for verdict, rule in lab.rules.items()}
    return replace(lab, rules=rules)


def test_every_claim_of_the_sources_is_shown():
    claims = re.findall(r"^\| ([LODTME]\d+) \|", SOURCES, re.MULTILINE)
    assert len(claims) > 45
    shown = {lab.id for lab in LABS.values()}
    assert set(claims) == shown | ELSEWHERE.keys()
    assert not shown & ELSEWHERE.keys()
    assert {command.split()[1] for command in ELSEWHERE.values()} <= VERBS.keys()


@pytest.mark.parametrize("key", [
    pytest.param(key, marks=pytest.mark.slow) if key in SLOW else key for key in LABS
])  # fmt: skip
def test_a_lab_finds_its_verdict_and_its_opposite_does_not(key, once, tmp_path):
    lab, trial = LABS[key], once(key)
    if key in LONG:
        trial = replace(trial, figures=REACHED[key])
    assert judged(lab, [trial]) == lab.verdict
    assert judged(turned(lab), [trial]) == "undetermined"
    assert lab.headline in once(key).figures
    assert trial.figures.keys() <= once(key).figures.keys()
    assert len(lab.rules) == 1
    finding = found_once(lab, once(key))
    page = html.unescape(lab_html(finding))
    assert lab.claim in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert any(finding.verdict in line for line in explained(finding))
    assert f"({key}.md)" in write_book([finding], tmp_path).read_text()
    for picture in re.findall(r"\]\((.+?\.png)\)", (tmp_path / f"{key}.md").read_text()):
        assert (tmp_path / picture).is_file()


def test_the_lectures_figures(once):
    cut = once("O3-momentum").figures
    assert [round(cut[f"{form} when the rate is cut"], 3) for form in "ADE"] == [
        0.113,
        0.113,
        0.602,
    ]
    assert once("D2-crops").figures["crops of 224 in 256, with mirror images"] == 2178
    assert once("M1-parameters").figures["AlexNet, two groups: parameters"] == 60_965_224
    assert once("E1-counts").figures["precision"] == pytest.approx(1 / 3)
    assert once("E1-counts").figures["recall"] == 0.5
    twenty = once("T3-twenty-examples").figures
    assert twenty["sound: cost at the start"] == pytest.approx(2.3026, abs=1e-4)
    assert twenty["sound: cost after 200 epochs"] < 0.01
    rates = [row[1] for row in once("O7-schedules").rows[1:]]
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
    rights = [Share(0.9), Share(1.0), Share(1.0)]
    assert summary("x", rights).interval[1] == 1.0
    gained = [after - Share(0.97) for after in rights]
    assert summary("x", gained).interval[1] > max(gained)
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


def found_once(lab, trial):
    figures = {name: summary(name, [value]) for name, value in trial.figures.items()}
    return Finding(lab, lab.verdict, figures, [trial], 0.1, 0)


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
    code, _, err = striate_cli("lab", "O3", "--seed", "-1")
    assert code == 2
    assert "--seed -1" in err
    code, _, err = striate_cli("lab", "M5", "--seed", str(10**20))
    assert code == 2
    assert "at most 4,294,967,296" in err
    (tmp_path / "file").write_text("")
    assert striate_cli("lab", "O3", "--out", tmp_path / "file")[0] == 2


class TestOwnImages:
    def test_a_lab_runs_on_images_of_ones_own(self, striate_cli, tmp_path, tree):
        code, out, err = striate_cli("lab", "crowding", "--data", tree, "--json")
        assert code == 0, err
        assert "Student: neighbours of the data kept" in out
        code, _, err = striate_cli("lab", "O3", "--data", tree)
        assert code == 2
        assert "O3-momentum" in err
        assert "`striate lab`" in err
        assert striate_cli("lab", "O1", "--data", tmp_path / "nothing")[0] == 2
        _, listed, _ = striate_cli("lab")
        marked = {line.split()[1] for line in listed.splitlines() if line.endswith("--data")}
        assert marked == {lab.name for lab in LABS.values() if lab.on}

    def test_of_several_labs_those_that_take_images_run(self, striate_cli, tree):
        code, out, err = striate_cli("lab", "T4", "--data", tree, "--json")
        assert code == 0, err
        assert "not run: 3 of 4 labs, which bring their own images or numbers" in out
        ran = json.loads(out.splitlines()[-1])["findings"]
        assert [one["name"] for one in ran] == ["random-labels"]

    def test_squares_of_three_channels_split_anew_for_each_seed(self, tree):
        data = own_images(str(tree), 0)
        assert data.x.shape[1:] == data.test_x.shape[1:] == (3, OWN_SIDE, OWN_SIDE)
        assert 0 <= float(data.x.min()) < float(data.x.max()) <= 1
        assert data.classes == 3
        assert data.inputs == 3 * OWN_SIDE**2
        other = own_images(str(tree), 1)
        assert not torch.equal(data.test_x, other.test_x)

    def test_a_handful_of_images_is_refused(self, tmp_path):
        counts = {"train/a": 14, "train/b": 15, "val/a": 3, "val/b": 3}
        write_tree(tmp_path / "few", counts)
        with pytest.raises(DataError, match="training images with a class"):
            own_images(str(tmp_path / "few"), 0)

    def test_a_file_that_is_no_image_is_named(self, tree):
        next(tree.rglob("*.png")).write_bytes(b"no image")
        with pytest.raises(DataError, match="cannot be read"):
            own_images(str(tree), 2)

    def test_several_classes_an_image_are_refused(self, tmp_path):
        rng = np.random.default_rng(0)
        rows = ["path,classes"]
        for i in range(20):
            pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{i}.png")
            rows.append(f"{i}.png,{'a;b' if i % 2 else 'a'}")
        (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
        with pytest.raises(DataError, match="one class each"):
            own_images(str(tmp_path / "labels.csv"), 0)


def test_letters_have_exact_labels_and_many_hands():
    images, labels = rendered("lo", 200, 0)
    assert images.shape == (200, 1, 8, 8)
    assert 0 <= float(images.min()) < float(images.max()) <= 1
    ink = images.flatten(1).mean(dim=1)
    assert float(images[labels == 1][:, 0, 3:5, 3:5].mean()) < float(
        images[labels == 0][:, 0, 3:5, 3:5].mean()
    )  # an o is empty in the middle
    assert float(ink.std()) > 0.02
    again = rendered("lo", 200, 0)
    assert torch.equal(images, again[0])
    assert not torch.equal(images, rendered("lo", 200, 1)[0])


class TestViews:
    def test_the_nearest_surface_is_seen(self):
        """Along the axis through a ball's centre its near side is hit, elsewhere the wall."""
        views = views_from(np.array([[0.15, 0.55, -2.0]]), 41)
        middle = views.colours[0].reshape(41, 41, 3)[20, 20]
        assert middle[0] > middle[2] + 0.1  # yellow
        corner = views.colours[0].reshape(41, 41, 3)[0, 0]
        assert any(np.allclose(corner, wall, atol=1e-6)
                   for wall in ((0.25, 0.3, 0.3), (0.75, 0.75, 0.65)))  # fmt: skip

    def test_layers_are_composed_as_one_over_the_other(self):
        rng = np.random.default_rng(0)
        colours = torch.from_numpy(rng.random((3, 5, 3)))
        opacity = torch.from_numpy(rng.random((3, 5)))
        a, b = opacity[0, :, None], opacity[1, :, None]
        expected = a * colours[0] + (1 - a) * (b * colours[1] + (1 - b) * colours[2])
        torch.testing.assert_close(radiance.composed(colours, opacity), expected)

    def test_the_planes_meet_the_rays_where_they_should(self):
        """A plane painted by its coordinates gives each ray the place where it crosses it."""
        net = radiance.Planes(2, 64)
        far = float(net.depths[1])
        line = torch.linspace(-1 + 1 / 64, 1 - 1 / 64, 64)
        with torch.no_grad():
            net.values[1, 0], net.values[1, 1] = line[None, :], line[:, None]
            net.values[0, 3] = -50
        origins = torch.tensor([[0.0, 0.0, -2.0], [0.4, -0.2, -2.0]])
        directions = torch.tensor([[0.1, 0.2, 1.0], [0.0, 0.0, 1.0]])
        found = torch.logit(net(origins, directions, torch.Generator()))
        at = origins[:, :2] + (far - 2 - origins[:, 2:]) * directions[:, :2]
        half = SPAN * far + radiance._APART
        torch.testing.assert_close(found[:, :2], at / half, atol=1e-4, rtol=0)


class TestScenes:
    def test_a_caption_is_true_only_with_every_word(self):
        scenes = draw(np.array([[0, 0, 0, 2, 1]]), np.random.default_rng(0))
        said = captions_of(scenes, np.array([0]))
        assert in_words(said[0]) == "a red circle left of a blue square"
        other = captions_of(scenes, np.array([1]))
        assert in_words(other[0]) == "a blue square right of a red circle"
        assert is_true(said, scenes) == is_true(other, scenes) == [True]
        for place in range(5):
            wrong = said.copy()
            wrong[0, place] = 1 + wrong[0, place] % 12
            assert not is_true(wrong, scenes)[0]

    def test_objects_stand_as_said_inside_the_image(self):
        rng = np.random.default_rng(1)
        facts = np.concatenate(
            [every_triple()[rng.integers(64, size=500)], rng.integers(0, 4, (500, 2))], axis=1
        )
        scenes = draw(facts, rng)
        apart = scenes.centres[:, 1] - scenes.centres[:, 0]
        axis, sign = (facts[:, 2] >= 2), np.where(facts[:, 2] % 2 == 0, 1, -1)
        along = np.where(axis, apart[:, 0], apart[:, 1])
        across = np.where(axis, apart[:, 1], apart[:, 0])
        assert (along * sign > abs(across)).all()
        assert (scenes.centres >= 5).all()
        assert (scenes.centres <= SIDE - 5).all()
        assert scenes.images.shape == (500, 3, SIDE, SIDE)

    def test_a_beam_of_one_is_greedy_and_wider_ones_are_likelier(self):
        torch.manual_seed(0)
        net = captions.Captioner().eval()
        images = torch.rand(8, 3, SIDE, SIDE)
        assert (captions.beam(net, images, 1) == captions.greedy(net, images).words).all()

        def likelihood(said):
            with torch.no_grad():
                return sum(
                    -6 * float(net.loss(images[i : i + 1], torch.from_numpy(said[i : i + 1])))
                    for i in range(len(said))
                )

        assert likelihood(captions.beam(net, images, 13)) >= likelihood(
            captions.greedy(net, images).words
        )

    def test_held_combinations_are_never_trained_on(self):
        rng = np.random.default_rng(0)
        triples = rng.permutation(every_triple())
        held, seen = triples[:12], triples[12:]
        scenes = draw(captions._facts(seen, seen, 300, rng), rng)
        known = {tuple(t) for t in held.tolist()}
        assert not [
            f for pair in scenes.facts[:, :, :3].tolist() for f in pair if tuple(f) in known
        ]
