"""The doctor on real runs: live, afterwards, after a failure, and by trying."""

import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import striate
from striate.core.errors import RunError, TrainingError
from striate.core.findings import Finding
from striate.core.records import Epoch, Failed, Measured, Note
from striate.core.run import RunDirectory
from striate.doctor.remedies import Attempt, compared, knobs_of, try_remedies
from striate.tasks.classify.signs import contradicted, recall_by_count
from striate.training.activity import batch_statistics, watched

PLAIN = "conv 3x3 8 pad 1, relu, pool 2, conv 3x3 16 pad 1, relu, fc 32, relu, fc classes"
KNOBS = {"model": PLAIN, "epochs": 8, "lr": 0.05, "augment.flip": False,
         "device.precision": "float32", "data.workers": 1}  # fmt: skip


def records(run, kind):
    return [r for r in RunDirectory(run).records() if isinstance(r, kind)]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("healthy") / "run"
    striate.train("digits", run=folder, **{**KNOBS, "epochs": 12})
    return folder


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slow") / "run"
    striate.train("digits", run=folder, **{**KNOBS, "lr": 1e-5})
    return folder


def test_a_healthy_run_says_so_once(healthy):
    assert striate.diagnose(healthy).to_json()["verdict"] == "healthy"
    assert json.loads((healthy / "findings.json").read_text())["verdict"] == "healthy"
    notes = [n.text for n in records(healthy, Note)]
    assert sum("finds nothing wrong" in text for text in notes) == 1
    assert not records(healthy, Finding)


def test_measuring_is_regular(healthy):
    measured, epochs = records(healthy, Measured), records(healthy, Epoch)
    assert measured[0].epoch == 1
    assert measured[-1].epoch == epochs[-1].epoch == 12
    assert all(m.seconds > 0 for m in measured)  # how cheap: benchmarks/main_job.py
    last = measured[-1]
    assert last.train_loss < 0.5
    assert last.layers["0 Conv2d"].keys() == {"weight", "gradient", "update"}
    assert set(last.layers["1 ReLU"]) == {"dead"}


def test_measuring_changes_nothing(tmp_path):
    weights = []
    for measure in (True, False):
        run = striate.train("digits", run=tmp_path / str(measure),
                            **{**KNOBS, "epochs": 2, "doctor.measure": measure})  # fmt: skip
        weights.append(run.network.state_dict())
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert not records(tmp_path / "False", Measured)
    lacking = striate.diagnose(tmp_path / "False").not_judged
    assert lacking["dead_units"] == "needs activations"


def test_a_rate_too_low_is_found_live_and_afterwards(slow):
    found = striate.diagnose(slow)
    assert found.findings[0].rule == "learning_rate_too_low"
    assert found.findings[0].remedies[0].startswith("--optim.lr 0.0")


def test_a_failure_is_recorded_with_its_place(tmp_path, striate_cli):
    with pytest.raises(TrainingError):
        striate.train("digits", run=tmp_path / "run", **{**KNOBS, "lr": 1e6})
    (failed,) = records(tmp_path / "run", Failed)
    assert failed.lr > 0
    code, out, _ = striate_cli("doctor", tmp_path / "run", "--json")
    said = json.loads(out)
    assert code == 0
    assert said["verdict"] == "sick"
    names = [f["rule"] for f in said["findings"]]
    assert {"not_finite", "learning_rate_too_high"} <= set(names)
    assert all(
        set(f) >= {"rule", "verdict", "confidence", "evidence", "remedies"}
        for f in said["findings"]
    )
    live = [f.rule for f in records(tmp_path / "run", Finding)]
    assert "not_finite" in live


def test_the_text_for_people(slow, striate_cli):
    code, out, _ = striate_cli("doctor", slow)
    assert code == 0
    assert out.startswith("sick")
    assert "learning rate too low" in out
    assert "try  --optim.lr" in out
    assert "▁" in out or "█" in out


def test_remedies_are_tried_side_by_side(slow):
    tested = [t for t in try_remedies(str(slow), top=1, epochs=4) if isinstance(t, Attempt)]
    assert len(tested) == 1
    assert tested[0].verdict == "helps"
    assert tested[0].low <= tested[0].difference <= tested[0].high


def test_nothing_to_try(healthy):
    with pytest.raises(RunError, match="no recipe change"):
        list(try_remedies(str(healthy)))


def test_the_interval_of_a_comparison_is_paired():
    rng = np.random.default_rng(0)
    theirs = rng.random(2000) < 0.5
    ours = theirs | (rng.random(2000) < 0.1)
    found = compared("--optim.lr 1", "rule", True, ours, theirs)
    apart = ours.astype(float) - theirs
    error = apart.std() / np.sqrt(len(apart))
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.2)
    assert found.verdict == "helps"


def test_remedies_as_knobs():
    assert knobs_of("--optim.lr 0.02 --model.small-stem True") == {
        "optim.lr": 0.02, "model.small_stem": True,
    }  # fmt: skip
    assert knobs_of("--model 'conv 3x3 4, fc classes'") == {"model.name": "conv 3x3 4, fc classes"}


@pytest.mark.parametrize("damage", [b"{broken\n", b'{"kind": "epoch"}\n', b'{"kind": "?"}\n'])
def test_a_damaged_log_is_named(healthy, tmp_path, damage, striate_cli):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(healthy, copy)
    log = copy / "records.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:3], damage, *lines[3:]]))
    code, _, err = striate_cli("doctor", copy)
    assert code == 2
    assert "line 4, is damaged" in err


def test_a_run_that_has_not_begun_is_undetermined(healthy, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(healthy, copy)
    log = copy / "records.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:6]))
    found = striate.diagnose(copy)
    assert found.verdict == "undetermined"
    assert [f.rule for f in found.findings] == ["not_yet_decidable"]


def test_random_labels_rank_anywhere():
    """Independent truth: half of random wrong labels rank in the lower half, few confusions do."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5000, 10)).astype(np.float32)
    truth = rng.integers(0, 10, 5000)
    logits[np.arange(5000), truth] += 6
    noisy = np.where(rng.random(5000) < 0.3, rng.integers(0, 10, 5000), truth)
    assert contradicted(logits, truth) < 0.01
    assert contradicted(logits, noisy) == pytest.approx(0.5 * 0.3, abs=0.03)
    assert contradicted(logits[:, :3], truth % 3) is None


def test_recall_goes_from_common_to_rare():
    targets = np.array([0, 0, 0, 1, 1, 2])
    logits = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 1, 0]]
    found = recall_by_count(logits, targets, np.array([5, 100, 20]))
    assert found == ((100.0, 2, 1.0), (20.0, 1, 0.0), (5.0, 3, 2 / 3))


def test_watching_leaves_no_hooks_even_after_an_error():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    with pytest.raises(RuntimeError), watched(net):
        net(torch.zeros(1, 5))
    assert not net[1]._forward_hooks


def test_batch_statistics_learn_nothing():
    net = torch.nn.BatchNorm1d(4).eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    x = torch.randn(16, 4) * 3 + 1
    with batch_statistics(net):
        out = net(x)
    assert torch.allclose(out.mean(0), torch.zeros(4), atol=1e-5)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert not net.training


def test_label_noise_of_a_real_training(tmp_path):
    x, y = load_digits(return_X_y=True)
    images = (x.reshape(-1, 8, 8) * 15).astype(np.uint8)
    rng = np.random.default_rng(0)
    wrong = np.where(rng.random(len(y)) < 0.4, rng.integers(0, 10, len(y)), y)
    data = {"train": (images[:1300], wrong[:1300]), "val": (images[1300:], y[1300:])}
    run = striate.train(data, run=tmp_path / "run", **{**KNOBS, "epochs": 15})
    assert "label_noise" in {f.rule for f in striate.diagnose(run).findings}
