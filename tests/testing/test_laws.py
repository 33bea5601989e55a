"""Every member of every family keeps the public laws, and the laws can be broken."""

import numpy as np
import pytest
import torch
from torch import nn

import striate
from striate.core.geometry import identity
from striate.data.augment import AUGMENTATIONS, Augmentation
from striate.data.augment.common import Moved
from striate.data.targets import Labels, LabelSets
from striate.optim.rules import UPDATE_RULES
from striate.optim.schedules import SCHEDULES
from striate.tasks import make_task
from striate.testing import (
    check_augmentation,
    check_network,
    check_resume,
    check_schedule,
    check_targets,
    check_task,
    check_update_rule,
)

STRENGTH = {
    "window": 1, "pad": 3, "resized": 0.6, "zoom": 0.6, "rotate": 30, "affine": 0.2, "flip": 0.5,
    "vertical_flip": 0.5, "trivial": 1, "rand": 0.5, "brightness": 0.4, "contrast": 0.4,
    "saturation": 0.6, "hue": 0.3, "principal_colours": 0.3, "greyscale": 0.6, "blur": 2,
    "cutout": 6, "random_erasing": 0.8, "mixup": 1.0, "cutmix": 1.0, "mosaic": 0.7,
}  # fmt: skip
NETWORKS = {
    "fastnet": {}, "lenet": {"channels": 1, "image_size": 28},
    "decknet": {"channels": 1, "image_size": 28}, "resnet18": {}, "vgg11_bn": {},
    "conv 5x5 8 pad 2, relu, pool 2, batchnorm, dropout 0.2, fc classes": {},
}  # fmt: skip
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
LABELS = Labels(np.arange(12) % 3)
SETS = LabelSets((RNG.random((12, 3)) > 0.5).astype(np.float32))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations(name):
    assert len(check_augmentation(name, STRENGTH[name], size=12 if name == "window" else 16)) >= 6


@pytest.mark.parametrize("name", UPDATE_RULES)
def test_update_rules(name):
    assert len(check_update_rule(name)) == 3


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    assert len(check_schedule(name)) == 3


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    assert len(check_network(name, **NETWORKS[name])) == 9


@pytest.mark.parametrize("targets", [LABELS, SETS], ids=lambda t: t.kind)
def test_targets(targets):
    assert len(check_targets(targets, 3)) == 14


@pytest.mark.parametrize(("targets", "losses"), [
    (LABELS, ("cross_entropy", "hinge", "mse")), (SETS, ("sigmoid",)),
], ids=["labels", "label_sets"])  # fmt: skip
def test_tasks(targets, losses):
    for loss in losses:
        assert len(check_task(make_task(targets.kind, loss, 0.1), IMAGES, targets, 3)) >= 12


def test_a_training(tmp_path):
    data = {
        "train": (IMAGES.repeat(4, axis=0), np.arange(48) // 4 % 3),
        "val": (IMAGES[:6], np.arange(6) % 3),
        "test": (IMAGES[6:], np.arange(6) % 3),
    }
    knobs = {"model": "conv 3x3 4, relu, pool 4, dropout 0.3, fc classes", "epochs": 2,
             "batch_size": 8, "allow": ("leakage",), "check": "off",
             "device.threads": 1}  # fmt: skip
    laws = check_resume(data, tmp_path, after=7, **knobs, **{"report.write": False})
    assert laws[-1].startswith("a resumed training")


def test_pixels_that_leave_their_points_behind_are_seen():
    def shifted(images, draw, strength, about):
        moved = np.roll(images, round(4 * strength), axis=2)
        changed = np.where(draw("odd", 1)[:, :1, None, None] < 0.9, moved, images)
        return Moved(changed.astype(np.uint8), identity(len(images)))

    with pytest.raises(AssertionError, match="points move with pixels"):
        check_augmentation(Augmentation(shifted, "place", "share"), 1.0)


def test_an_augmentation_that_is_drawn_for_the_batch_is_seen():
    def brighter(images, draw, strength, about):
        factor = 1 + strength * draw("factor", 1)[:, 0].mean()
        return (images * factor).clip(0, 255).astype(np.uint8)

    with pytest.raises(AssertionError, match="does not depend on the batch"):
        check_augmentation(Augmentation(brighter, "colour", "factor"), 0.5)


def test_a_parameter_without_a_gradient_is_seen(tmp_path, monkeypatch):
    (tmp_path / "idle_net.py").write_text("""
from torch import nn

class Idle(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.used, self.idle = nn.Linear(3, classes), nn.Linear(3, 3)

    def forward(self, x):
        return self.used(x.mean(dim=(2, 3)))

def net(num_classes):
    return Idle(num_classes)
""")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(AssertionError, match="every parameter gets a gradient .*idle.weight"):
        check_network("idle_net:net")


def test_targets_that_lose_images_are_seen():
    class Losing(Labels):
        def take(self, ids):
            return Losing(self.array[np.sort(ids)])

    with pytest.raises(AssertionError, match="take gives those that were asked for"):
        check_targets(Losing(np.arange(8) % 2), 2)


def test_losses_that_are_means_are_seen():
    """The mean of a part is no part of the mean of the batch."""
    from dataclasses import dataclass

    from striate.tasks.classify.task import LabelTask

    @dataclass(frozen=True)
    class Mean(LabelTask):
        def losses(self, net, batch, runtime):
            found = super().losses(net, batch, runtime)
            return found._replace(total=found.total / len(batch.ids))

    with pytest.raises(AssertionError, match="micro-batches add up to the batch"):
        check_task(Mean("cross_entropy"), IMAGES, LABELS, 3)


def test_a_frozen_stage_stays_in_a_training():
    """Weights, biases, gains and running averages of stages with factor 0; the others learn."""
    from striate.core.recipe_io import with_overrides
    from striate.plan.network import fresh_state
    from striate.plan.prepare import prepare
    from striate.training.log import drained
    from striate.training.loop import train

    knobs = {"model": "resnet18", "epochs": 1, "check": "off", "device.threads": 1,
             "doctor.measure": False, "device.precision": "float32"}  # fmt: skip
    data = {
        "train": (IMAGES.repeat(2, axis=0), np.arange(24) // 2 % 3),
        "val": (IMAGES[:6], np.arange(6) % 3),
        "test": (IMAGES[6:], np.arange(6) % 3),
    }
    wanted = with_overrides(striate.Recipe(), {**knobs, "data.allow": ("leakage",)})
    prepared, _ = drained(prepare(wanted, data, 0.0))
    rates = {"stage0": 0.0, "stage1": 0.1}  # the small stem keeps the resolution up to layer1
    classes, images = 3, 24
    state = fresh_state(prepared.settled, prepared.task, classes, prepared.data.statistics,
                        prepared.runtime, images, rates)  # fmt: skip
    before = {name: value.clone() for name, value in state.net.state_dict().items()}
    scales = {group["lr_scale"] for group in state.optimiser.param_groups}
    assert min(scales) == pytest.approx(0.1 * max(scales))
    for _ in train(prepared.job(), state):
        pass
    after = state.net.state_dict()
    frozen = ("backbone.conv1", "backbone.bn1", "backbone.layer1")
    for name, value in before.items():
        if name.startswith(frozen):
            assert torch.equal(value, after[name]), name
    assert not torch.equal(before["backbone.layer2.0.conv1.weight"],
                           after["backbone.layer2.0.conv1.weight"])  # fmt: skip
    moved = after["backbone.layer4.1.bn2.running_mean"]
    assert not torch.equal(before["backbone.layer4.1.bn2.running_mean"], moved)


def test_a_stage_that_is_not_there_is_refused():
    from striate.core.errors import RecipeError
    from striate.core.recipe import Recipe
    from striate.core.recipe_io import with_overrides
    from striate.plan.network import _by_stage
    from striate.plan.prepare import prepare
    from striate.training.log import drained

    recipe = with_overrides(Recipe(), {"epochs": 1, "doctor.measure": False})
    settled = drained(prepare(recipe, "digits", 0.0))[0].settled
    net = nn.Module()
    net.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 2))
    with pytest.raises(RecipeError, match="no stage 'stage7'"):
        _by_stage(net, settled, {"stage7": 0.0})
