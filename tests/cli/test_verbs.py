"""The verbs, as a person and as a program uses them."""

import json
import signal
import subprocess
import sys
import time
import zipfile

import pytest
from PIL import Image

from striate.cli.view import clock, sparkline
from tests.conftest import COLOURS, write_tree

FLAGS = ("--epochs", 2, "--batch-size", 8, "--image-size", 16, "--augment.flip", "False")


def last_json(out):
    return json.loads(out.splitlines()[-1])


def test_train_prints_json_last(striate_cli, tree):
    code, out, _ = striate_cli("train", tree, *FLAGS, "--run", "run", "--json")
    assert code == 0
    said = last_json(out)
    assert list(said) == ["run", "epochs", "seconds", "train", "val", "test", "doctor"]
    assert said["doctor"]["verdict"] in ("healthy", "sick", "undetermined")
    assert (said["run"], said["epochs"]) == ("run", 2)
    assert list(said["test"]) == ["accuracy", "plain_accuracy", "top5_error", "loss", "n"]
    assert said["test"]["n"] == 12
    assert "Try next:" in out
    assert "F1" in out


def test_default_run_names(striate_cli, tree, tmp_path):
    for _ in range(2):
        assert striate_cli("train", tree, *FLAGS, "--epochs", 1)[0] == 0
    names = sorted(p.name for p in (tmp_path / "runs").iterdir())
    assert len(names) == 2
    assert all("colours" in name for name in names)


def test_recipe_and_flags(striate_cli, tree, tmp_path):
    (tmp_path / "r.yaml").write_text(
        f"data:\n  source: {tree}\noptim:\n  lr: 0.02\nbudget:\n  epochs: 1\n"
    )
    code, _, err = striate_cli("train", "--recipe", "r.yaml", "--model", "lenet", "--run", "run")
    assert code == 0, err
    text = (tmp_path / "run" / "recipe.yaml").read_text()
    assert "name: lenet" in text
    assert "lr: 0.02" in text


def test_a_runs_recipe_with_another_model(striate_cli, trained):
    quick = ("--image-size", 16, "--augment.flip", "False", "--report.no-write")
    code, _, err = striate_cli("train", trained[1], *quick, "--epochs", 1, "--run", "first")
    assert code == 0, err
    code, _, err = striate_cli(
        "train",
        "--recipe",
        "first/recipe.yaml",
        "--model",
        "decknet",
        "--epochs",
        1,
        "--run",
        "run",
    )
    assert code == 0, err


def test_evaluate(striate_cli, trained):
    run, data = trained
    code, out, _ = striate_cli("evaluate", run, "--json")
    assert code == 0
    stored = json.loads((run / "scores.json").read_text())["test"]
    said = last_json(out)["test"]
    assert said["accuracy"] == pytest.approx(stored["accuracy"])
    assert said["intervals"].keys() == stored["intervals"].keys()
    low, high = said["intervals"]["accuracy"]
    assert low <= said["accuracy"] <= high
    assert len(said["per_class"]) == 3
    assert "95 % interval" in out
    other = last_json(striate_cli("evaluate", run, data / "test", "--json")[1])
    assert other["all"]["accuracy"] == stored["accuracy"]
    val = last_json(striate_cli("evaluate", run, "--split", "val", "--json")[1])
    assert val["val"]["n"] == 12
    code, _, err = striate_cli("evaluate", run, "--split", "tset")
    assert (code, "Perhaps you meant: test" in err) == (2, True)


def test_evaluate_with_everything(striate_cli, trained):
    run = trained[0]
    flags = ("--compare", run, "--slices", "--slice-by", "(.)", "--corruptions", "--recall", 0.9)
    code, out, err = striate_cli("evaluate", run, *flags, "--json")
    assert code == 0, err
    said = last_json(out)
    assert said["comparison"]["difference"] == 0
    assert "undetermined" in out
    assert len(said["thresholds"]) == 3
    assert {row["corruption"] for row in said["corruptions"]["rows"]} >= {"noise", "blur", "jpeg"}
    assert len(said["corruptions"]["rows"][0]["scores"]) == 5
    assert isinstance(said["slices"], list)


@pytest.mark.parametrize(
    ("flags", "piece"),
    [
        (("--precision", 0.9, "--recall", 0.9), "give one of them"),
        (("--recall", 1.5), "expected above 0, at most 1"),
        (("--compare", "nowhere"), "nowhere"),
        (("--slice-by", "zebra"), "is in no image's name"),
    ],
)
def test_evaluate_refuses(striate_cli, trained, flags, piece):
    code, _, err = striate_cli("evaluate", trained[0], *flags)
    assert code == 2
    assert piece in err
    assert "Traceback" not in err


def test_evaluate_data_with_a_test_split_uses_it(striate_cli, trained):
    out = striate_cli("evaluate", trained[0], trained[1], "--json")[1]
    assert last_json(out)["test"]["n"] == 12


def test_predict_files_folders_and_zips(striate_cli, trained, tmp_path):
    run, data = trained
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        for i in range(2):
            archive.write(data / "test" / "green" / f"{i}.png", f"green/{i}.png")
    file = data / "test" / "blue" / "0.png"
    code, out, err = striate_cli(
        "predict", run, file, data / "test" / "red", "some.zip", "--top", 2, "--json"
    )
    assert code == 0, err
    rows = last_json(out)["predictions"]
    assert [r["class"] for r in rows] == ["blue"] + ["red"] * 4 + ["green"] * 2
    assert rows[0]["image"] == str(file)
    assert rows[-1]["image"] == "some.zip#green/1.png"
    assert all(0 <= r["probability"] <= 1 and len(r["top"]) == 2 for r in rows)
    code, out, _ = striate_cli("predict", run, data / "test" / "red")
    assert len(out.splitlines()) == 4
    assert all("\tred 0." in line or "\tred 1." in line for line in out.splitlines())


def test_predict_shows_paths_as_they_were_given(striate_cli, trained, tmp_path, monkeypatch):
    write_tree(tmp_path / "p", {"x": 1})
    assert striate_cli("predict", trained[0], "p")[1].startswith("p/x/0.png\t")
    monkeypatch.chdir(tmp_path / "p")
    assert striate_cli("predict", trained[0], ".")[1].startswith("x/0.png\t")


def test_predict_skip_bad(striate_cli, trained, tmp_path):
    folder = write_tree(tmp_path / "p", {"x": 2})
    (folder / "x" / "bad.png").write_bytes(b"zzz")
    code, out, _ = striate_cli("predict", trained[0], folder, "--skip-bad")
    assert code == 0
    assert len(out.splitlines()) == 2


def test_predictions_csv(trained):
    lines = (trained[0] / "predictions.csv").read_text().splitlines()
    assert lines[0] == "image,true,predicted,probability"
    assert len(lines) == 1 + 12
    assert sum(line.split(",")[1] == line.split(",")[2] for line in lines[1:]) >= 10


def test_runs_table_and_prune(striate_cli, trained):
    code, out, _ = striate_cli("runs", trained[0].parent, "--prune")
    assert code == 0
    assert "run" in out
    assert "finished" in out
    assert "freed" in out
    assert striate_cli("runs")[1].startswith("no runs here yet")


def test_env(striate_cli):
    code, out, _ = striate_cli("env")
    assert code == 0
    for word in ("torch", "cores", "GFLOP/s", "bfloat16", "timm"):
        assert word in out


def test_data_show(striate_cli, tree, tmp_path):
    code, out, _ = striate_cli("data", "show", tree)
    assert code == 0
    for piece in ("3 classes", "blue", "16×16 pixels, colour"):
        assert piece in out
    assert list(tmp_path.glob("*.png")) == []  # nothing is written unasked
    code, out, _ = striate_cli("data", "show", tree, "--png", "contact-sheet.png")
    assert "contact-sheet.png" in out
    with Image.open(tmp_path / "contact-sheet.png") as sheet:
        assert sheet.width > 500
    assert striate_cli("data")[0] == 0
    assert striate_cli("data", "shwo")[0] == 2


def test_help_of_every_verb(striate_cli):
    from striate.cli.main import VERBS

    for verb in VERBS:
        code, out, err = striate_cli(verb, "--help")
        assert code in (0, None), err
        assert "usage" in out.lower()


def test_version(striate_cli):
    import striate

    assert striate_cli("--version")[1].strip() == f"striate {striate.__version__}"


@pytest.mark.parametrize(
    "sent", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_says_how_to_resume(sent, tmp_path):
    """F3, one of each: the step is finished, a checkpoint is written, resume works, code 130."""
    data = write_tree(tmp_path / "d", dict.fromkeys(COLOURS, 30))
    command = [sys.executable, "-m", "striate"]
    flags = ["--epochs", "4000", "--augment.flip", "False", "--batch-size", "8", "--run", "run"]
    with subprocess.Popen(
        [*command, "train", str(data), *flags], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        for line in process.stdout:
            if line.startswith("epoch   2"):
                break
        process.send_signal(sent)
        started = time.monotonic()
        out, err = process.communicate(timeout=60)
        assert time.monotonic() - started < 30
    assert process.returncode == 130
    assert "Continue with: striate resume run" in err
    assert "Traceback" not in err + out
    listed = subprocess.run(
        [*command, "runs", "."], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "can be resumed" in listed.stdout


def test_a_run_finds_its_data_from_any_folder(striate_cli, tree, tmp_path, monkeypatch):
    assert striate_cli("train", "colours", *FLAGS, "--run", "run")[0] == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    code, _, err = striate_cli("evaluate", tmp_path / "run")
    assert code == 0, err


def test_several_labels_have_their_own_table(striate_cli, tmp_path):
    write_tree(tmp_path / "d", {f"{c}/{g}": 12 for c in ("red", "blue") for g in ("a", "b")})
    levels = ("--data.label-levels", "colour", "--data.label-levels", "kind")
    code, out, err = striate_cli("train", *FLAGS, "--run", "run", *levels, "d")
    assert code == 0, err
    assert "average precision" in out
    assert "colour:red" in out
    assert "mean average precision" in striate_cli("evaluate", "run")[1]


def test_stop_before_the_first_step_is_at_once():
    """Nothing is there to be saved yet, so one Ctrl-C is enough; later the step is finished."""
    import os

    from striate.api.stopping import graceful_stop

    before = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in the background
    with pytest.raises(KeyboardInterrupt), graceful_stop():
        os.kill(os.getpid(), signal.SIGINT)
    with graceful_stop() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


def test_small_things():
    assert [clock(s) for s in (5, 65, 3600 * 2 + 600)] == ["5 s", "1 min 05 s", "2 h 10 min"]
    assert sparkline([3, 2, 1, 0], 4) == "█▆▃▁"
    assert len(sparkline(list(range(1000)), 40)) == 40
    assert sparkline([1.0], 9) == "▁"


def test_evaluate_with_other_views(striate_cli, trained):
    code, out, err = striate_cli("evaluate", trained[0], "--views", "flip", "--json")
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["test"]["n"] == 12
    for views, told in (("mirror", "no test views 'mirror'"), ("ten_crop", "larger than")):
        code, _, err = striate_cli("evaluate", trained[0], "--views", views)
        assert code == 2
        assert told in err
