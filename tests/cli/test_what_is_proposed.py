"""Every command that a text of ours proposes exists, with its flags."""

import ast
import re
from pathlib import Path

import pytest

import striate
from striate.cli.data import ACTIONS
from striate.cli.main import VERBS

SRC = Path(striate.__file__).parent
DOCS = [*sorted((SRC.parents[1] / "docs").glob("*.md")), SRC.parents[1] / "README.md"]
COMMAND = re.compile(r"striate ([a-z]+)((?:[ ]+[^`\n;)|>#]+)?)")
WORDS = {"is", "trains", "opens", "says", "or", "and", "itself", "decides", "was", "tells", "can"}


def texts():
    """(where, text) of every string in our code that could reach a person."""
    for path in sorted(SRC.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                text = "".join(
                    part.value if isinstance(part, ast.Constant) else "X" for part in node.values
                )
                yield f"{path.name}:{node.lineno}", text
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.name}:{node.lineno}", node.value


def proposed():
    for where, text in texts():
        for match in COMMAND.finditer(text):
            if match[1] not in WORDS and text.strip() != "striate":
                yield where, match[1], match[2]


@pytest.fixture(scope="module")
def flags():
    """verb → all flags that its help knows."""
    import contextlib
    import io

    from striate.cli.main import main

    known = {}
    for verb in [*VERBS, *(f"data {action}" for action in ACTIONS)]:
        out = io.StringIO()
        for form in ("--help", "--help-all"):
            with contextlib.suppress(SystemExit, Exception), contextlib.redirect_stdout(out):
                main([*verb.split(), form])
        known[verb] = set(re.findall(r"--[a-z0-9][a-z0-9.-]*", out.getvalue()))
    from striate.core.recipe import SHORT_FLAGS

    short = {f"--{name.replace('_', '-')}" for name in SHORT_FLAGS}
    for verb in ("train", "search", "preflight", "lr"):
        known[verb] |= short
    return known


def test_there_are_proposals():
    assert len(list(proposed())) > 40


def test_every_proposed_command_exists(flags):
    wrong = []
    for where, verb, rest in proposed():
        name = verb
        if verb == "data":
            action = rest.split()[0] if rest.split() else ""
            name = f"data {action}" if action in ACTIONS else verb
            if action and action[0].islower() and action not in (*ACTIONS, "…"):
                wrong.append(f"{where}: striate data {action}")
        if verb not in VERBS:
            wrong.append(f"{where}: striate {verb}{rest}")
            continue
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9.-]*", rest):
            if flag.rstrip(".") not in flags[name] and verb != "textbook":
                wrong.append(f"{where}: striate {name} … {flag}")
    assert wrong == []


def test_help_comes_in_two_lengths(striate_cli):
    _, short, _ = striate_cli("train", "--help")
    _, long, _ = striate_cli("train", "--help-all")
    for flag in ("--minutes", "--model", "--device", "--workers", "--lr", "--help-all"):
        assert flag in short
    assert len(short.splitlines()) < 100 < len(long.splitlines())
    assert "--schedule.gamma" in long
    assert "--schedule.gamma" not in short


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--epochs", "3x"], "budget.epochs: expected a valid integer or 'auto', found '3x'"),
        (["--lr", "fast"], "optim.lr: expected a valid number"),
        (["--seed", "1.5"], "seed: expected a valid integer"),
        (["--augment.hue", "3"], "augment.hue: expected less than or equal to 0.5"),
        (["--augment.flip", "perhaps"], "augment.flip: expected"),
    ],
)
def test_values_of_the_wrong_kind_are_refused_in_our_words(striate_cli, flags, expected):
    code, _, err = striate_cli("train", *flags)
    assert code == 2
    assert expected in err
    assert "Annotated" not in err
