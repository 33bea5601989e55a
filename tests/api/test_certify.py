"""Certificates: what changed is named, a repetition is compared to the last bit."""

import json
import shutil

import numpy as np
import pytest

import striate
from striate.api.certify import CERTIFICATE, certify, verify
from striate.core.errors import RunError
from tests.conftest import QUICK


@pytest.fixture
def run(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    return folder


def verdicts(findings):
    return {finding.rule: finding.verdict for finding in findings}


def test_an_untouched_run_is_verified(run):
    made = certify(run)
    broken = [text for text, holds in made["guarantees"].items() if not holds]
    assert broken == [
        "every training image once an epoch, for any number of processes (the sampler is selective)"
    ]
    assert json.loads((run / CERTIFICATE).read_text()) == made
    found = verify(run, steps=4)
    assert verdicts(found) == dict.fromkeys(
        ("weights", "records", "recipe", "environment", "data", "repeated"), "pass"
    )
    assert "4 steps, the same losses to the last bit" in found[-1].text


def test_other_weights_and_records_are_noticed(run):
    certify(run)
    weights = next((run / "checkpoints").glob("step-*/model.safetensors"))
    for path in (run / "checkpoints").glob("step-*/model.safetensors"):
        path.write_bytes(weights.read_bytes()[:-1] + b"!")
    records = run / "records.jsonl"
    records.write_text(records.read_text().replace('"loss": 1.', '"loss": 9.', 1))
    found = verdicts(verify(run, steps=2))
    assert found["weights"] == "fail"
    assert found["records"] == found["repeated"] == "fail"


def test_another_processor_explains_other_roundings(run):
    made = certify(run)
    made["environment"]["processor"] = "a slide rule"
    (run / CERTIFICATE).write_text(json.dumps(made))
    records = run / "records.jsonl"
    lines = records.read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if '"kind": "step"' in line)
    step = json.loads(lines[at])
    lines[at] = json.dumps({**step, "loss": step["loss"] * 1.001}) + "\n"
    records.write_text("".join(lines))
    found = verdicts(verify(run, steps=2))
    assert found["environment"] == "note"
    assert found["repeated"] == "warn"


def test_an_extended_run_is_repeated_by_its_first_plan(run):
    striate.resume(run, epochs=26)
    made = certify(run)
    assert not all(made["guarantees"].values())
    assert verdicts(verify(run, steps=3))["repeated"] == "pass"


def test_what_cannot_be_certified(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16), dtype=np.uint8)
    striate.train((images, np.arange(40) % 2), run=tmp_path / "run", **QUICK)
    made = certify(tmp_path / "run")
    assert not made["guarantees"]["same bits when interrupted anywhere and resumed there"]
    with pytest.raises(RunError, match="cannot be repeated"):
        verify(tmp_path / "run")


def test_the_verb(run, striate_cli):
    code, _, err = striate_cli("certify", run, "--verify")
    assert code == 2
    assert CERTIFICATE in err
    code, out, _ = striate_cli("certify", run)
    assert code == 0
    assert "✓ same bits when repeated" in out
    code, out, _ = striate_cli("certify", run, "--verify", "--steps", "2", "--json")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["verdict"] == "pass"
