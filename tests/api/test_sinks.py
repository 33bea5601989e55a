"""Figures for other programs: all of them, in order, and never at the cost of a training."""

import contextlib
import csv
import shutil

import pytest

import striate
from striate.api import sinks
from striate.api.sinks import SINKS, figures_of, into, replay
from striate.core.errors import RunError
from striate.core.records import Epoch, Finished, Note, Planned, Started, Step
from tests.conftest import QUICK

STEPS = [Step(n, 0, 1.0 / n, 0.1, 2.0, 100.0, {"boxes": 0.5}) for n in (1, 2, 3)]
FINISHED = Finished("run", 1, 1.0, "planned", {}, {}, {})
PLANNED = Planned(1, 3, 10, "lenet", 10, "accuracy")


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_has_a_row_for_each_step_and_epoch(trained, striate_cli):
    run = striate.Run(trained[0])
    code, out, _ = striate_cli("replay", run.path, "--sink", "csv")
    assert code == 0
    found = rows_of(run.path / "metrics.csv")
    steps = [r for r in run.records() if isinstance(r, Step)]
    epochs = [r for r in run.records() if isinstance(r, Epoch)]
    assert f"{len(steps) + len(epochs) + 1:,} steps and epochs" in out  # and the scores at the end
    of_steps = [row for row in found if row["train/loss"]]
    assert [(int(r["step"]), float(r["train/loss"])) for r in of_steps] == [
        (s.step, s.loss) for s in steps
    ]
    assert [float(r["val/score"]) for r in found if r["val/score"]] == [e.val_score for e in epochs]


def test_a_training_feeds_a_sink_and_a_resumed_one_goes_on(tree, striate_cli, tmp_path):
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in QUICK.items() if k != "report.write"]
    code, _, err = striate_cli("train", tree, *flags, "--run", "run", "--sink", "csv")
    assert code == 0, err
    first = rows_of(tmp_path / "run" / "metrics.csv")
    code, _, err = striate_cli("resume", "run", "--epochs", 3, "--sink", "csv")
    assert code == 0, err
    found = rows_of(tmp_path / "run" / "metrics.csv")
    assert found[: len(first)] == first
    steps = [int(row["step"]) for row in found if row["train/loss"]]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > len([row for row in first if row["train/loss"]])


def test_tensorboard_reads_them(trained):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = striate.Run(trained[0])
    replay(run.path, "tensorboard")
    found = EventAccumulator(str(run.path / "tensorboard"))
    found.Reload()
    losses = [(e.step, e.value) for e in found.Scalars("train/loss")]
    steps = [r for r in run.records() if isinstance(r, Step)]
    assert [step for step, _ in losses] == [s.step for s in steps]
    assert losses[-1][1] == pytest.approx(steps[-1].loss)


def test_weights_and_biases_keeps_them(trained, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = shutil.copytree(trained[0], tmp_path / "run")
    replay(run, "wandb")
    (kept,) = run.glob("wandb/offline-run-*/*.wandb")
    data = kept.read_bytes()
    steps = [r for r in striate.Run(run).records() if isinstance(r, Step)]
    assert data.count(b"train/loss") >= len(steps) - 2  # some may stand across blocks of the file
    assert b"optim.lr" in data  # the knobs


@pytest.mark.filterwarnings("ignore")  # of its database's packages
def test_mlflow_keeps_them(trained, tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="pip install mlflow")
    import mlflow

    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    mlflow.set_tracking_uri(address)
    run = shutil.copytree(trained[0], tmp_path / "run")
    replay(run, "mlflow")
    client = mlflow.tracking.MlflowClient(address)
    (found,) = client.search_runs(["0"])
    losses = client.get_metric_history(found.info.run_id, "train/loss")
    steps = [r for r in striate.Run(run).records() if isinstance(r, Step)]
    assert [(m.step, m.value) for m in losses] == [(s.step, pytest.approx(s.loss)) for s in steps]
    assert found.data.params["optim.rule"] == striate.Run(run).recipe.optim.rule


def test_a_sink_that_fails_costs_nothing(monkeypatch):
    got = []

    @contextlib.contextmanager
    def breaking(run, done):
        def write(step, figures):
            if step == 2:
                raise OSError("the disk is full")
            got.append(step)

        yield write

    @contextlib.contextmanager
    def closed(run, done):
        raise ConnectionError("no server")
        yield

    monkeypatch.setitem(SINKS, "breaking", ("", breaking))
    monkeypatch.setitem(SINKS, "closed", ("", closed))
    records = [Started("run", "data"), PLANNED, *STEPS]
    found = list(into(["breaking", "closed"], records))
    notes = [record.text for record in found if isinstance(record, Note)]
    assert [record for record in found if not isinstance(record, Note)] == records
    assert got == [1]
    assert len(notes) == 2
    assert "no server" in notes[0]
    assert "the disk is full" in notes[1]


def _sink_that_does_not_close(got):
    @contextlib.contextmanager
    def sink(run, done):
        try:
            yield lambda step, figures: got.append(step)
        finally:
            got.append("closed")
            raise ConnectionError("the server is gone")

    return "", sink


def test_a_sink_that_does_not_close_costs_nothing(monkeypatch):
    got, other = [], []
    monkeypatch.setitem(SINKS, "first", _sink_that_does_not_close(got))
    monkeypatch.setitem(SINKS, "second", _sink_that_does_not_close(other))
    records = [Started("run", "data"), PLANNED, *STEPS]
    stopped = list(into(["first", "second"], records))
    assert got == other == [1, 2, 3, "closed"]
    notes = [record.text for record in stopped if isinstance(record, Note)]
    assert ["server is gone" in note for note in notes] == [True, True]
    ended = list(into(["first", "second"], [*records, FINISHED]))
    assert [type(record) for record in ended[-3:]] == [Note, Note, Finished]  # that stays the last


def test_sinks_are_closed_when_a_training_ends_with_an_error(monkeypatch):
    def records():
        yield from [Started("run", "data"), PLANNED, *STEPS[:1]]
        raise RuntimeError("the training's own error")

    got = []
    monkeypatch.setitem(SINKS, "first", _sink_that_does_not_close(got))
    with pytest.raises(RuntimeError, match="the training's own error"):
        list(into(["first"], records()))
    assert got == [1, "closed"]


def test_sinks_are_closed_when_nobody_asks_for_more(monkeypatch):
    got = []
    monkeypatch.setitem(SINKS, "first", _sink_that_does_not_close(got))
    records = into(["first"], [Started("run", "data"), PLANNED, *STEPS])
    for _ in range(3):
        next(records)
    records.close()
    assert got == [1, "closed"]


def test_terms_of_a_loss_are_figures_too():
    step, figures = figures_of(STEPS[1], 0)
    assert step == 2
    assert figures["train/boxes"] == 0.5
    assert figures_of(PLANNED, 7) == (7, {})


def test_sinks_that_are_not_there_are_said_before_anything_is_trained(striate_cli, tmp_path):
    for name, said in (("tensorbord", "tensorboard"), ("absent", "absent")):
        code, _, err = striate_cli("train", "--run", "run", "--sink", name)
        assert code == 2
        assert said in err
        assert not (tmp_path / "run").exists()


def test_a_missing_package_names_its_command(monkeypatch):
    monkeypatch.setitem(SINKS, "other", ("no_such_package", sinks.csv))
    with pytest.raises(RunError, match="pip install no_such_package"):
        into(["other"], [])
