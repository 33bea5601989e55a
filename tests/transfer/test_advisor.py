"""Probes and the advisor, on a network small enough for a test."""

import json

import numpy as np
import pytest

import striate
from striate.core.records import Note
from striate.data.splits import stratified_folds
from striate.data.targets import Labels, LabelSets
from striate.transfer.advisor import USUAL, WAYS, _verdict
from striate.transfer.holdout import FOLDS
from striate.transfer.table import table_says
from striate.transfer.trial import Trial, extrapolated
from tests.conftest import COLOURS, STAGED, write_colours, write_tree

KNOBS = {
    "batch_size": 8, "image_size": 16, "augment.flip": False, "device.precision": "float32",
    "report.write": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_colours(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="module")
def donor(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("donor") / "run"
    striate.train(data, run=folder, model=STAGED, epochs=4, lr=0.01, **KNOBS)
    return str(folder)


def test_every_stage_and_every_pair_is_probed(data, donor):
    found = striate.probe(data, weights=donor, **KNOBS)
    stages = [probe.stages for probe in found.probes]
    names = [s for s in stages if len(s) == 1]
    assert len(names) == 3
    assert len(stages) == 3 + 3
    for probe in found.probes:
        low, high = probe.interval
        assert low <= probe.score <= high
        assert np.isfinite(probe.logme)
        assert 0 <= probe.neighbours <= 1
    assert found.best.score == max(probe.score for probe in found.probes)
    assert found.leep is not None  # the run's own classes
    alone = striate.probe(data, weights=donor, pairs=False, **KNOBS)
    assert [p.score for p in alone.probes] == [p.score for p in found.probes[:3]]


def test_a_probe_reads_neither_validation_nor_test_images(data, donor, tmp_path):
    other = write_tree(tmp_path / "colours", {f"train/{c}": 12 for c in COLOURS})
    for source, target in ((data / "train", other / "train"),):
        for file in source.rglob("*.png"):
            (target / file.relative_to(source)).write_bytes(file.read_bytes())
    for split in ("val", "test"):
        for name in COLOURS:
            write_tree(other, {f"{split}/{name}": 6}, size=(18, 18))
    one = striate.probe(data, weights=donor, pairs=False, **KNOBS)
    two = striate.probe(other, weights=donor, pairs=False, **KNOBS)
    assert [p.score for p in one.probes] == [p.score for p in two.probes]


def test_the_advisor_tries_every_way_and_says_what_the_table_says(data, donor):
    advice = striate.advise_transfer(data, weights=donor, minutes=0.5, epochs=2, **KNOBS)
    assert set(advice.trials) == set(WAYS)
    assert advice.way in WAYS
    assert advice.finding.verdict in ("pass", "undetermined")
    assert "M3" in advice.finding.text
    assert ("model.freeze" in advice.knobs) != (advice.way == "scratch")
    low, high = advice.interval
    assert 0 <= low <= advice.predicted <= high <= 1
    json.dumps(advice.to_json())


def test_held_out_images_are_not_seen_before(data, donor):
    """The head that a trial starts with is fitted without the held-out images."""
    from striate.api.transfer import _prepared
    from striate.core.recipe import Recipe
    from striate.core.recipe_io import with_overrides
    from striate.training.log import drained
    from striate.transfer.holdout import held_out

    values = {"data.source": str(data), "model.weights": donor, "epochs": 1, **KNOBS}
    started = drained(_prepared(with_overrides(Recipe(), values), str(data), {}))
    folds = held_out(started)
    assert len(folds) == 3
    seen = []
    for fold in folds:
        splits = fold.data.dataset.splits
        names = [{s.images.key(i) for i in range(len(s))} for s in (splits["train"], splits["val"])]
        assert not names[0] & names[1]
        assert not fold.start.heads
        seen.append(names[1])
    assert len(set.union(*seen)) == len(started.data.dataset.splits["train"])


def thirds(targets):
    """The parts that `held_out` holds out."""
    folds = stratified_folds(targets.strata(), FOLDS, 0)
    return [np.flatnonzero(folds == number) for number in range(FOLDS)]


def test_thirds_hold_every_class():
    numbers = np.repeat([0, 1, 2], [9, 30, 3])
    parts = thirds(Labels(numbers))
    assert sorted(np.concatenate(parts)) == list(range(42))
    for part in parts:
        assert np.bincount(numbers[part]).tolist() == [3, 10, 1]
    sets = LabelSets(np.eye(3, dtype=np.float32)[numbers])
    assert sorted(np.concatenate(thirds(sets))) == list(range(42))


def test_extrapolation_follows_a_power_of_the_length():
    errors = lambda share: 0.1 * share**-0.5  # noqa: E731
    score = extrapolated(1 - errors(0.5), 1 - errors(0.25), 0.5)
    assert score == pytest.approx(1 - errors(1.0))
    assert extrapolated(0.8, 0.85, 0.5) == 0.8  # errors that grow are not continued
    assert extrapolated(0.8, None, 1.0) == 0.8
    assert extrapolated(1.0, 0.9, 0.5) == 1.0
    assert extrapolated(0.0, 0.0, 0.5) == 0.0


def trial(right, images, done=1.0):
    each = np.zeros(images)
    each[:right] = 1
    score = right / images
    return Trial(score, done, images, score, (score - 0.1, score + 0.1), each, 1.0)


def test_a_clear_winner_is_sure_and_a_close_race_undetermined():
    clear = {"last": trial(90, 100), "head": trial(60, 100), "all": trial(70, 100),
             "scratch": trial(40, 100)}  # fmt: skip
    way, finding = _verdict(clear, "accuracy", None)
    assert (way, finding.verdict) == ("last", "pass")
    close = {"last": trial(90, 100), "head": trial(91, 100), "all": trial(90, 100),
             "scratch": trial(40, 100)}  # fmt: skip
    way, finding = _verdict(close, "accuracy", table_says(100, 2, 0.8, 0.5))
    assert (way, finding.verdict) == (USUAL, "undetermined")
    assert "does not agree" in finding.text
    way, finding = _verdict(close, "accuracy", table_says(100, 2, 0.99, 0.5), "head")
    assert (way, finding.verdict) == ("head", "undetermined")
    assert "The measurement agrees" in finding.text
    other = {**clear, "scratch": trial(100, 100)}
    assert _verdict(other, "accuracy", None)[0] == "scratch"


def test_a_training_that_exploded_is_not_taken():
    lost = Trial(0.0, 1.0, 0, 0.0, (0.0, 1.0), None, 1.0)
    found = {"last": lost, "head": trial(60, 100), "all": lost, "scratch": lost}
    assert _verdict(found, "accuracy", None)[0] == "head"


@pytest.mark.parametrize(
    ("images", "score", "way"),
    [(100, 0.99, "head"), (10_000, 0.99, "last"), (100, 0.6, "head"), (10_000, 0.6, "all")],
)
def test_the_table(images, score, way):
    found = table_says(images, 10, score, 0.1)
    assert found.way == way
    assert found.words


def test_the_commands(data, donor, striate_cli):
    flags = ("--weights", donor, "--image-size", 16, "--batch-size", 8, "--augment.flip", "False",
             "--device.precision", "float32")  # fmt: skip
    code, out, err = striate_cli("probe", data, *flags)
    assert code == 0, err
    assert "stage0 + stage1" in out
    assert "best:" in out
    code, out, err = striate_cli(
        "transfer", data, *flags, "--epochs", 1, "--minutes", 0.2, "--run", "run"
    )
    assert code == 0, err
    assert "The lectures' table (M3)" in out
    advice = striate.Run("run").read_json("advice.json")
    decided = striate.Run("run").read_json("resolved.json")
    recipe = striate.Run("run").recipe
    for knob, value in advice["knobs"].items():
        group, _, leaf = knob.partition(".")
        assert getattr(getattr(recipe, group), leaf) == value or decided[knob]["value"] == value
    card = striate.Run("run").report("md", files_only=True)
    assert "Short trainings chose how the weights change" in card


def test_what_is_not_possible(data, donor, striate_cli):
    code, _, err = striate_cli("transfer", data, "--weights", donor, "--freeze", 1)
    assert code == 2
    assert "what the advisor finds out" in err
    code, _, err = striate_cli("probe", data, "--weights", donor, "--loss.name", "hinge")
    assert code == 2
    assert "no linear classifier" in err
    code, _, err = striate_cli("probe", data, "--weights", "imagnet")
    assert code == 2
    assert "Perhaps you meant: imagenet" in err


def test_notes_say_what_each_way_reaches(data, donor):
    from striate.api.transfer import stream_advice

    lines = [
        record.text
        for record in stream_advice(data, weights=donor, minutes=0.2, epochs=1, **KNOBS)
        if isinstance(record, Note)
    ]
    for way in WAYS.values():
        assert any(line.startswith(way.words) for line in lines)
