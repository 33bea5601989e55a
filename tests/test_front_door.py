"""What `import striate` offers, and how quickly."""

import subprocess
import sys
import time

import pytest

import striate

FRONT_DOOR = [
    "Diagnosis", "Evaluation", "Folds", "PRESETS", "Prediction", "Recipe", "Run", "StriateError",
    "Tally", "add_weights", "advise_transfer", "branch", "climb_ladder", "compare",
    "cross_validate", "diagnose", "explain_run", "export_run", "find_rate", "list_weights",
    "load_recipe", "make_map", "open_export", "probe", "resume", "run_preflight", "slices",
    "stream", "stream_search", "thresholds", "train",
]  # fmt: skip


def test_front_door_is_pinned():
    assert striate.__all__ == FRONT_DOOR
    for name in FRONT_DOOR:
        assert getattr(striate, name) is not None
    assert set(FRONT_DOOR) <= set(dir(striate))


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        striate.trian  # noqa: B018


HEAVY = """
import sys
{}
print([m for m in ("torch", "torchvision", "sklearn", "pydantic") if m in sys.modules])
"""


@pytest.mark.parametrize(
    "statement", ["import striate", "from striate.cli.main import main; main(['--help'])"]
)
def test_light_to_import(statement):
    done = subprocess.run(
        [sys.executable, "-c", HEAVY.format(statement)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_answers_at_once():
    """Under 0.3 s; the best of three, since the machine may be busy."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "striate", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.3
