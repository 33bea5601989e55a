"""Tab completion: the verbs, actions, flags and values that the commands have."""

import shutil
import subprocess

import pytest

from striate.cli.completion import SHELLS, flags_of, surveyed
from striate.cli.main import VERBS


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    found, folder = surveyed(), tmp_path_factory.mktemp("scripts")
    for shell, write in SHELLS.items():
        (folder / shell).write_text("\n".join(write(*found)) + "\n")
    return folder


def run(shell, *words):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    ended = subprocess.run([shell, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split("\n")


def in_bash(scripts, *words):
    quoted = " ".join(f"'{word}'" for word in words)
    text = f"""source {scripts / "bash"}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}
    _striate; printf '%s\\n' "${{COMPREPLY[@]}}" """
    return [line for line in run("bash", "-c", text) if line]


def in_fish(scripts, line):
    # fish completes only commands that it knows
    text = f"function striate; end; source {scripts / 'fish'}; complete -C '{line}'"
    return [found.partition("\t")[0] for found in run("fish", "-N", "-c", text) if found]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("exp",), ["explain", "export"]),
        (("data", "ch"), ["check"]),
        (("export", "run", "--i"), ["--images", "--int8"]),
        (("train", "d", "--optim.mom"), ["--optim.momentum"]),
        (("branch", "r", "--optim.mom"), ["--optim.momentum"]),
        (("data", "check", "d", "--tu"), ["--turned"]),
        (("data", "check", "d", "--check", ""), ["full", "sample"]),
        (("train", "d", "--device.precision", "b"), ["bfloat16"]),
        (("train", "fol"), []),
    ],
)
def test_words_are_completed(scripts, words, found):
    assert sorted(in_bash(scripts, "striate", *words)) == sorted(found)
    if found:
        shown = in_fish(scripts, " ".join(("striate", *words)))
        assert sorted(shown) == sorted(found)


def test_zsh_takes_it(scripts):
    text = f"""autoload -Uz compinit; compinit -u -D; source {scripts / "zsh"}
    print -l $_comps[striate]"""
    assert run("zsh", "-f", "-c", text)[0] == "_striate"
    assert run("zsh", "-n", str(scripts / "zsh")) == [""]


def test_every_verb_is_there_and_described():
    verbs, actions = surveyed()
    assert verbs.keys() == actions.keys() == VERBS.keys()
    bare = [verb for verb, (_, each) in actions.items() if not any(each.values())]
    assert bare == ["completion", "env"]  # which have no flags
    knob = next(flag for flag in flags_of("train") if flag.name == "--optim.momentum")
    assert knob.takes
    assert knob.text


def test_an_unknown_shell_is_said(striate_cli):
    code, _, err = striate_cli("completion", "fsh")
    assert code == 2
    assert "fish" in err
    assert "usage" in striate_cli("completion")[1]
    assert "complete -o default" in striate_cli("completion", "bash")[1]
