"""Whoever reads a command's `--json` finds the keys that were there."""

import json

import pytest

from tests.golden import json_keys

RECORDED = json.loads(json_keys.TABLE.read_text())
SEVERAL = {"data": ("check", "show", "augment", "shard"), "textbook": ("graph", "train", "descend")}

pytestmark = pytest.mark.timeout(900)  # the first test waits for all commands


@pytest.fixture(scope="module")
def now(tmp_path_factory):
    """The keys of every command with the present code."""
    return json_keys.all_keys(tmp_path_factory.mktemp("keys"))


@pytest.mark.parametrize("command", json_keys.COMMANDS)
def test_keys(command, now):
    found, known = now[command], RECORDED[command]
    assert json_keys.differences(known["keys"], found["keys"]) == []
    assert json_keys.differences(found["keys"], known["keys"]) == []
    for rule in found["evidence"].keys() & known["evidence"].keys():
        assert (rule, found["evidence"][rule]) == (rule, known["evidence"][rule])


def test_every_verb_with_json_is_here(striate_cli):
    here = {words[:2] if words[0] in SEVERAL else words[:1] for words in
            json_keys.COMMANDS.values()}  # fmt: skip
    listed = striate_cli("--help")[1].splitlines()
    verbs = [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "]
    assert len(verbs) == 29
    for verb in verbs:
        for words in [(verb, name) for name in SEVERAL.get(verb, ())] or [(verb,)]:
            code, out, _ = striate_cli(*words, "--help")
            assert code == 0
            assert ("--json" in out) == (words in here), words


def test_what_is_lacking():
    assert json_keys.keys({"a": [{"b": 1}, {"c": []}]}) == {"a[].b", "a[].c[]"}
    assert json_keys.differences(["a[].b", "d"], ["a[]"]) == ["d"]
    assert json_keys.differences(["a[]"], ["a[].b"]) == []
    assert json_keys.differences(["a[].b"], ["a[].c"]) == ["a[].b"]
