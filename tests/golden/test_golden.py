"""The same weights and scores as the recorded commit, to the last bit, on this kind of processor.

recorded.json has the answers of some kinds of processor. On another kind they are worked out with
the recorded commit's own code, once; where its history is missing, the test is skipped.
"""

import hashlib
import json
from pathlib import Path

import pytest

from tests.golden import trainings

pytestmark = pytest.mark.timeout(900)  # the first test waits for all trainings


SLOW = {"resnet18_mixup", "two_processes"}
if trainings.kind().endswith("amx_tile no, avx512_bf16 no"):
    SLOW |= {"fastnet_bfloat16"}  # half a minute instead of a few seconds
CASES = [
    pytest.param(case, marks=[pytest.mark.slow] if case in SLOW else []) for case in trainings.CASES
]


@pytest.fixture(scope="module")
def now(request):
    """What the code of this checkout gives, in the cases that are asked for."""
    asked = [item for item in request.session.items if item.module is request.module]
    cases = {item.callspec.params["case"] for item in asked if hasattr(item, "callspec")}
    if len(cases) < len(asked):  # the test that follows compares two of them
        cases |= {"resumed", "uninterrupted"}
    return trainings.answers_of(trainings.ROOT / "src", [c for c in trainings.CASES if c in cases])


@pytest.fixture(scope="module")
def recorded(request):
    """What the recorded commit gives on this kind of processor."""
    kind = trainings.kind()
    known = trainings.load_table().get(kind, {})
    if trainings.CASES.keys() <= known.keys():
        return known
    script = Path(trainings.__file__).read_bytes()
    name = hashlib.sha256(kind.encode() + script).hexdigest()[:16]
    kept = request.config.cache.mkdir("golden") / f"{name}.json"
    if not kept.exists():
        try:
            found = trainings.recorded_answers()
        except LookupError as error:
            pytest.skip(f"recorded.json has no '{kind}', and {error}")
        kept.write_text(json.dumps(found))
    return json.loads(kept.read_text())["cases"]


@pytest.mark.parametrize("case", CASES)
def test_the_same_bits(case, recorded, now):
    found = now["cases"][case]
    assert "error" not in found, found["error"]
    old = recorded[case]["decided"]  # of the knobs that there were then
    assert {knob: found["decided"].get(knob) for knob in old} == old
    assert found["losses"] == recorded[case]["losses"]
    assert found["scores"] == recorded[case]["scores"]
    assert found["weights"] == recorded[case]["weights"]


def test_a_resumed_training_is_the_uninterrupted_one(now):
    assert "weights" in now["cases"]["resumed"]
    assert now["cases"]["resumed"] == now["cases"]["uninterrupted"]
