"""Every check passes on a sound training and names the fault that was put in."""

import json
import math
import time

import numpy as np
import pytest
from sklearn.datasets import load_digits
from torch import nn

import striate
from striate.core.errors import DataError
from striate.core.findings import Finding
from striate.models import zoo
from striate.plan.prepare import prepare, requested
from striate.preflight.bench import Bench
from striate.preflight.checks import CHECKS
from striate.training.log import drained

PLAIN = "conv 3x3 8 pad 1, relu, pool 2, fc 32, relu, fc classes"
KNOBS = {"model": PLAIN, "epochs": 5, "batch_size": 32, "device.precision": "float32",
         "augment.flip": False, "data.workers": 1}  # fmt: skip


def bench_of(data="digits", **knobs):
    wanted = requested(data, None, {**KNOBS, **knobs})
    source = data if not isinstance(data, str) else wanted.data.source
    prepared, decisions = drained(prepare(wanted, source, time.perf_counter()))
    return Bench(prepared, decisions.made, 0.0)


def check(rule, data="digits", **knobs):
    found = CHECKS[rule](bench_of(data, **knobs))
    return found if isinstance(found, Finding) else found[-1]


@pytest.fixture(scope="module")
def sound():
    return bench_of()


@pytest.mark.parametrize("rule", CHECKS)
def test_a_sound_training_passes(sound, rule):
    found = CHECKS[rule](sound)
    for finding in [found] if isinstance(found, Finding) else found:
        assert finding.verdict in ("pass", "note"), finding
        assert finding.text


def test_initial_loss_knows_what_these_weights_cost(sound):
    found = CHECKS["initial_loss"](sound)
    assert found.evidence["chance"] == pytest.approx(math.log(10))
    assert abs(found.evidence["loss"] - found.evidence["expected"]) < 4 * found.evidence["error"]


@pytest.mark.parametrize(("loss", "chance"), [("hinge", 9.0), ("mse", 0.09)])
def test_initial_loss_of_other_losses(loss, chance):
    found = check("initial_loss", **{"loss.name": loss})
    assert found.evidence["chance"] == pytest.approx(chance)
    assert found.verdict == "pass"


def test_outputs_that_start_too_large():
    found = check("initial_loss", **{"model.initialiser": "gaussian", "model.init_std": 0.5})
    assert found.verdict == "warn"
    assert "too large" in found.text


class Half(nn.Module):
    """Has a layer that is never used."""

    def __init__(self, num_classes, channels, image_size):
        super().__init__()
        self.spare = nn.Linear(3, 3)
        self.flat = nn.Linear(channels * image_size**2, num_classes)

    def forward(self, x):
        return self.flat(x.flatten(1))


class Blind(nn.Module):
    """Learns the classes' frequencies, whatever it sees."""

    def __init__(self, num_classes, channels, image_size):
        super().__init__()
        self.bias = nn.Linear(1, num_classes)

    def forward(self, x):
        return self.bias(x.new_zeros(len(x), 1))


class Stuck(nn.Module):
    """No image can be told from another: all is rounded away."""

    def __init__(self, num_classes, channels, image_size):
        super().__init__()
        self.flat = nn.Linear(channels * image_size**2, num_classes)

    def forward(self, x):
        return self.flat(x.flatten(1) * 0.0)


@pytest.fixture
def own(monkeypatch):
    """Networks of this file by their class."""

    def name(kind):
        monkeypatch.setattr(zoo, "ARCHITECTURES", {**zoo.ARCHITECTURES, "own": f"{__name__}:x"})
        monkeypatch.setattr(zoo, "find_factory", lambda _: kind)
        return "own"

    return name


def test_a_layer_without_gradient_is_named(own):
    found = check("unused_parameters", model=own(Half))
    assert found.verdict == "warn"
    assert "spare" in found.text


def test_a_network_that_cannot_learn_by_heart_fails(own):
    found = check("overfit_few", model=own(Stuck))
    assert found.verdict == "fail"
    assert found.evidence["lecture"] < 1


def test_a_blind_network_is_no_better_on_images_than_on_blank_ones(own):
    x, y = load_digits(return_X_y=True)
    images = (x.reshape(-1, 8, 8) * 15).astype(np.uint8)
    common = np.where(np.arange(len(y)) % 10 < 8, 0, y)  # knowing the commonest class pays
    found = CHECKS["learns_labels"](bench_of((images, common), model=own(Blind)))
    assert {f.verdict for f in found} <= {"undetermined", "fail"}


@pytest.mark.parametrize(
    ("knob", "value"), [("augment.flip", True), ("augment.vertical_flip", True)]
)
def test_flips_that_change_a_digit_are_found_by_measuring(knob, value):
    found = check("augmentation", **{knob: value})
    assert found.verdict == "fail"
    assert "mirrored" in found.text or "upside down" in found.text


def test_gradients_that_vanish_in_a_deep_sigmoid_network():
    deep = "conv 3x3 8 pad 1, sigmoid, " * 8 + "fc classes"
    found = check("gradients", model=deep)
    assert found.verdict in ("warn", "fail")
    assert "vanish" in found.text


def test_units_that_are_dead_at_the_start():
    found = check("dead_units", **{"model.bias": -50.0})
    assert found.verdict == "fail"


def test_an_explosive_rate_fails_in_the_first_steps():
    assert check("first_steps", **{"optim.lr": 1e4}).verdict == "fail"


def test_batch_norm_with_tiny_batches():
    norm = "conv 3x3 8 pad 1, batchnorm, relu, gap, fc classes"
    assert check("batch_norm", model=norm, batch_size=4).verdict == "warn"
    assert check("batch_norm", model=norm, batch_size=32).verdict == "pass"


def test_a_stem_for_large_images(tree):
    knobs = {"model": "resnet18", "image_size": 32, "batch_size": 4}
    assert check("stem", tree, **knobs, **{"model.small_stem": False}).verdict == "warn"
    assert check("stem", tree, **knobs, **{"model.small_stem": True}).verdict == "pass"


def test_workers_are_compared(sound, monkeypatch):
    found = CHECKS["workers"](sound)
    assert "come out different" in found.text
    from striate.data.augment import family

    real = family.Pipeline.moved
    same = lambda self, images, ids, epoch: real(self, images, np.zeros_like(ids), 0)  # noqa: E731
    monkeypatch.setattr(family.Pipeline, "moved", same)
    assert CHECKS["workers"](sound).verdict == "fail"


def test_rare_and_absent_classes(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (63, 8, 8), dtype=np.uint8)
    labels = np.array([0] * 30 + [1] * 30 + [2] * 3)
    found = check("labels", {"train": (images, labels), "val": (images[:9] + 1, labels[:9])})
    assert found.verdict == "warn"
    assert "fewer than 5: 2" in found.text


def test_the_estimate_is_near_the_truth(sound):
    found = CHECKS["estimate"](sound)
    assert found.evidence["epochs"] == 5
    assert 0 < found.evidence["seconds"] < 120
    assert found.evidence["step_mb"] > 0


def test_the_verb_and_its_exit_code(striate_cli):
    base = ("digits", "--model", PLAIN, "--epochs", "5", "--augment.flip", "False")
    code, out, _ = striate_cli("preflight", *base, "--json")
    said = json.loads(out)
    assert (code, said["verdict"]) == (0, "pass")
    assert {"initial_loss", "overfit_few", "estimate"} <= {f["rule"] for f in said["findings"]}
    code, out, _ = striate_cli("preflight", *base, "--lr", "10000")
    assert code == 1
    assert "failed: first_steps" in out


def test_bad_input_is_told_before_anything_is_tried():
    with pytest.raises(DataError, match="no data at"):
        striate.run_preflight("nothing-here")
