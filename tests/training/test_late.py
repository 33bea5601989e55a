"""Steps that are finished after the next was begun: the same weights and records, no waiting."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from torch.overrides import TorchFunctionMode

from striate.core.errors import TrainingError
from striate.core.recipe import Recipe
from striate.core.recipe_io import with_overrides
from striate.core.records import Epoch, Failed, Saved, Step
from striate.plan.prepare import prepare
from striate.tasks.classify.task import LabelTask
from striate.training.log import drained
from striate.training.loop import endless, train
from striate.training.update import Backup, begin, finish

SOURCE = "fake:70x3x16x16x3"
KNOBS = {
    "epochs": 3, "batch_size": 16, "device.threads": 1, "device.precision": "float32",
    "doctor.measure": False, "model": "lenet", "augment.flip": True, "data.workers": 1,
}  # fmt: skip
RECIPES = [
    {}, {"optim.rule": "adamw", "regularise.average": "ema"},
    {"optim.rule": "muon", "model": "fastnet", "model.width": 0.25, "regularise.dropout": 0.3},
    {"data.sampler": "hard", "device.micro_batch": 5, "optim.clip_norm": 0.5},
    {"optim.rule": "nesterov", "regularise.max_norm": 1.0, "checkpoints.every_steps": 2},
]  # fmt: skip
WAITS = {"item", "cpu", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__"}


class Poisoned(LabelTask):
    """Its loss is not a number in the fourth batch that it is asked for."""

    asked = 0

    def losses(self, net, batch, runtime):
        found = super().losses(net, batch, runtime)
        object.__setattr__(self, "asked", self.asked + 1)
        if self.asked == 4:
            bad = found.per_image * torch.nan
            return found._replace(total=bad.sum(), per_image=bad)
        return found


def prepared(extra=None):
    recipe = with_overrides(Recipe(), {**KNOBS, **(extra or {})})
    return drained(prepare(recipe, SOURCE, 0.0))[0]


def run(made, *, late, until=lambda record: False, **changes):
    """(records without times, tensors of the state, position, steps that were saved)."""
    state, saved = made.fresh(), []
    job = replace(
        made.job(), late=late, save=lambda s: saved.append(s.position.step) or "", **changes
    )
    records, fault = [], None
    stream = train(job, state)
    try:
        for record in stream:
            records.append(record)
            if until(record):
                stream.close()
    except TrainingError as error:
        fault = str(error)
    tensors = {**state.tensors()[0], **state.tensors()[1]}
    return [plain(r) for r in records], tensors, place(state), saved, fault


def plain(record):
    quiet = {Step: {"images_per_second": 0.0}, Epoch: {"seconds": 0.0}, Saved: {"seconds": 0.0}}
    return replace(record, **quiet.get(type(record), {}))


def place(state):
    position = copy.copy(state.position)
    position.seconds = position.total_seconds = 0.0
    return position


def same(one, two):
    """Records, weights, place, saved steps and the fault, bit by bit; NaN equals NaN."""
    assert repr(one[0]) == repr(two[0])
    assert one[1].keys() == two[1].keys()
    for name, tensor in one[1].items():
        assert torch.equal(tensor, two[1][name]), name
    assert one[2:] == two[2:]


@pytest.mark.parametrize("extra", RECIPES)
def test_late_steps_change_nothing(extra):
    made = prepared(extra)
    same(run(made, late=False), run(made, late=True))


@pytest.mark.parametrize("extra", RECIPES)
@pytest.mark.parametrize("at", [1, 4, 5, 7])
def test_closed_at_any_record_the_state_is_that_of_the_record(extra, at):
    made = prepared(extra)
    ends = lambda record: isinstance(record, Step) and record.step == at  # noqa: E731
    now, later = (run(made, late=late, until=ends) for late in (False, True))
    same(now, later)
    assert later[2].step == at


@pytest.mark.parametrize("at", [2, 5, 6])
def test_a_request_to_stop_ends_after_the_same_step(at):
    made = prepared()
    found = [run(made, late=late, stop=iter([False] * (at - 1) + [True] * 99).__next__)
             for late in (False, True)]  # fmt: skip
    same(*found)


@pytest.mark.parametrize("extra", [{}, {"optim.rule": "adamw", "regularise.average": "ema"}])
def test_a_loss_that_is_not_finite_is_taken_back(extra):
    made = prepared(extra)
    now, later = (run(made, late=late, task=Poisoned("cross_entropy")) for late in (False, True))
    same(now, later)
    assert isinstance(later[0][-1], Failed)
    assert later[0][-1].step == 4
    assert later[4].startswith("step 4: loss nan")
    assert all(torch.isfinite(t).all() for t in later[1].values())


def test_the_first_step_is_taken_back_whole():
    """Before it the rule remembers nothing."""
    made = prepared({"optim.rule": "momentum"})
    job, state = replace(made.job(), late=True), made.fresh()
    state.set_training()
    before = copy.deepcopy(state.net.state_dict())
    begun = begin(job, state, next(job.batches(state, 0, 0)), 0.1, Backup())
    assert state.optimiser.state
    begun.undo()
    assert not any(state.optimiser.state.values())
    assert all(torch.equal(t, before[n]) for n, t in state.net.state_dict().items())


class Counted(TorchFunctionMode):
    """Counts what would make the program wait for a device. torch keeps the number of steps of a
    rule on the host."""

    def __init__(self, rule):
        super().__init__()
        self.rule, self.waits = rule, []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        counts = (kept.get("step") for kept in self.rule.state.values())
        if getattr(func, "__name__", "") in WAITS and not any(args[0] is n for n in counts):
            self.waits.append(func.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("extra", RECIPES[:4])
def test_a_step_that_is_begun_waits_for_nothing(extra):
    """On the CPU in place of a card: whatever asks a tensor for its value is counted."""
    made = prepared({**extra, "epochs": 30})
    job, state = replace(made.job(), late=True), made.fresh()
    job = replace(job, runtime=replace(job.runtime))
    state.set_training()
    backups, counted, steps = itertools.cycle([Backup(), Backup()]), Counted(state.optimiser), 0
    object.__setattr__(job.runtime, "to_host", lambda tensor: tensor)  # a card's copy does not wait
    for batch in itertools.islice(endless(job, state), 100):
        with counted:
            begun = begin(job, state, batch, 1e-3, next(backups))
        finish(job, state, begun)
        state.position.step += 1
        steps += 1
    assert (steps, counted.waits) == (100, [])


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is there")
@pytest.mark.parametrize("extra", RECIPES[:4])
def test_a_card_is_not_waited_for(extra):
    made = prepared({**extra, "device": "cuda"})
    job, state = made.job(), made.fresh()
    assert job.late
    state.set_training()
    backups, waiting = itertools.cycle([Backup(), Backup()]), []
    for step, batch in enumerate(itertools.islice(endless(job, state), 12)):
        torch.cuda.set_sync_debug_mode("error" if step > 1 else "default")
        try:
            waiting.append(begin(job, state, batch, 1e-3, next(backups)))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        state.position.step += 1
        if len(waiting) > 1:
            finish(job, state, waiting.pop(0))
