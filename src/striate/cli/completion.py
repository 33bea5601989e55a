"""`striate completion bash|zsh|fish`: a script with which a shell completes verbs and flags."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from striate.core.errors import StriateError, perhaps

_HELP = """\
usage: striate completion SHELL

Print what makes a shell complete verbs and flags with the tab key. Once, and after an update:

  bash  striate completion bash > ~/.local/share/bash-completion/completions/striate
  zsh   striate completion zsh > ~/.zfunc/_striate    (with fpath+=~/.zfunc before compinit)
  fish  striate completion fish > ~/.config/fish/completions/striate.fish"""


_NAME = "striate"


@dataclass(frozen=True)
class Flag:
    """A flag of a command. choices: words that it takes; takes: whether a value follows it."""

    name: str
    text: str
    choices: tuple[str, ...]
    takes: bool


Words = Mapping[str, str]
"""A word → what it says of itself."""
Actions = Mapping[str, tuple[Words, Mapping[str, Sequence[Flag]]]]
"""Verb → (its actions, the flags of each; under "" those of a verb without actions)."""


def completion(argv: Sequence[str]) -> int:
    """Print the script."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_HELP)
        return 0
    if len(argv) > 1 or argv[0] not in SHELLS:
        shell = " ".join(argv)
        raise StriateError(f"no completion for the shell '{shell}'", perhaps(shell, SHELLS))
    verbs, actions = surveyed()
    print("\n".join(SHELLS[argv[0]](verbs, actions)))
    return 0


def surveyed() -> tuple[Words, Actions]:
    """All verbs, their actions and flags."""
    from striate.cli import data, textbook
    from striate.cli.main import VERBS

    verbs = {verb: text for verb, (_, text) in VERBS.items()}
    inner = {
        "data": {name: text for name, (_, text) in data.ACTIONS.items()},
        "textbook": textbook.ACTIONS,
        "completion": dict.fromkeys(SHELLS, ""),
    }
    found = {}
    for verb in verbs:
        actions: Words = inner.get(verb, {"": ""})
        flags = {name: () if verb == "completion" else flags_of(verb, name) for name in actions}
        found[verb] = ({} if "" in actions else actions, flags)
    return verbs, found


def flags_of(verb: str, action: str = "") -> Sequence[Flag]:
    """The flags of a verb, short forms of knobs with them."""
    from striate.cli.flags import described
    from striate.cli.main import VERBS

    module, _, function = VERBS[verb][0].partition(":")
    run = getattr(importlib.import_module(module), function)
    with described() as found:
        run([action] if action else [])
    flags = {flag.name: flag for flag in _flags(found[0])}
    if verb == "branch":  # takes every knob
        flags = {flag.name: flag for flag in _knobs()} | flags
    return [*flags.values()]


def _flags(source: Callable[..., Any]) -> Iterator[Flag]:
    """Of a function's parameters, or of a dataclass that may end in the knobs of a recipe."""
    from striate.core.recipe_text import documented

    hints = get_type_hints(source, include_extras=True)
    if isinstance(source, type):
        texts = documented(inspect.getfile(source))
        texts = {name: texts.get(f"{source.__name__}.{name}", "") for name in hints}
    else:
        texts = dict(_ARGUMENT.findall(inspect.getdoc(source) or ""))
        hints.pop("return", None)
    for name, hint in hints.items():
        if any(repr(part) == "Positional" for part in get_args(hint)[1:]):
            continue
        if name == "knobs":
            yield from _knobs()
        else:
            yield _flag(name, hint, texts.get(name, ""))


_ARGUMENT = re.compile(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)
"""A parameter in a docstring and its text."""


def _knobs() -> Iterator[Flag]:
    from striate.core import recipe
    from striate.core.recipe_io import knob_names
    from striate.core.recipe_text import documented

    texts = documented(recipe.__file__)
    short = {long: name for name, long in recipe.SHORT_FLAGS.items()}
    whole = get_type_hints(recipe.Recipe, include_extras=True)
    for name in knob_names():
        group, _, leaf = name.rpartition(".")
        owner = whole[group] if group else recipe.Recipe
        hint = get_type_hints(owner, include_extras=True)[leaf]
        text = texts.get(f"{owner.__name__}.{leaf}", "")
        for form in dict.fromkeys((name, short.get(name, name))):
            yield _flag(form, hint, text)


def _flag(name: str, hint: Any, text: str) -> Flag:
    words = (*_choices(hint),)
    return Flag(f"--{name.replace('_', '-')}", " ".join(text.split()), words, hint is not bool)


def _choices(hint: Any) -> Iterator[str]:
    """The words that a flag of this type takes; it may take numbers and names besides."""
    if get_origin(hint) is Literal:
        yield from (str(value) for value in get_args(hint))
    for part in get_args(hint) if get_origin(hint) is not Literal else ():
        yield from _choices(part)


def _places(actions: Actions) -> Iterator[tuple[str, Sequence[Flag]]]:
    """("train", its flags), ("data check", its flags) …"""
    for verb, (_, each) in actions.items():
        for action, flags in each.items():
            yield f"{verb} {action}".strip(), flags


def bash(verbs: Words, actions: Actions) -> Iterator[str]:
    """A script for bash: file names where nothing else is known."""
    yield "_striate() {"
    yield '    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"'
    yield '    local place="${COMP_WORDS[1]}" words="" values=""'
    yield "    if ((COMP_CWORD == 1)); then"
    yield f'        COMPREPLY=($(compgen -W "{" ".join(verbs)}" -- "$word")); return'
    yield "    fi"
    inner = {verb: names for verb, (names, _) in actions.items() if names}
    yield '    case "$place" in'
    for verb, names in inner.items():
        yield f"        {verb})"
        yield "            if ((COMP_CWORD == 2)); then"
        yield f'                COMPREPLY=($(compgen -W "{" ".join(names)}" -- "$word")); return'
        yield "            fi"
        yield '            place="$place ${COMP_WORDS[2]}" ;;'
    yield "    esac"
    yield '    case "$place $before" in'
    for place, flags in _places(actions):
        for flag in flags:
            if flag.choices:
                yield f'        "{place} {flag.name}") values="{" ".join(flag.choices)}" ;;'
    yield "    esac"
    yield '    case "$place" in'
    for place, flags in _places(actions):
        yield f'        "{place}") words="{" ".join(flag.name for flag in flags)}" ;;'
    yield "    esac"
    yield '    if [[ -n "$values" ]]; then COMPREPLY=($(compgen -W "$values" -- "$word"))'
    yield '    elif [[ "$word" == -* ]]; then COMPREPLY=($(compgen -W "$words" -- "$word"))'
    yield "    fi"
    yield "}"
    yield f"complete -o default -F _striate {_NAME}"


def zsh(verbs: Words, actions: Actions) -> Iterator[str]:
    """A script for zsh, with what each word means."""
    yield "#compdef striate"
    yield "_striate() {"
    yield "    local place=$words[2]"
    yield "    if ((CURRENT == 2)); then"
    yield f"        local -a verbs=({_zsh_words(verbs)})"
    yield "        _describe verb verbs; return"
    yield "    fi"
    yield "    case $place in"
    for verb, (names, _) in actions.items():
        if names:
            yield f"        {verb})"
            yield "            if ((CURRENT == 3)); then"
            yield f"                local -a actions=({_zsh_words(names)})"
            yield "                _describe action actions; return"
            yield "            fi"
            yield '            place="$place $words[3]" ;;'
    yield "    esac"
    yield "    case $place in"
    for place, flags in _places(actions):
        yield f"        {shlex.quote(place)}) _arguments -s {_zsh_flags(flags)} '*:file:_files' ;;"
    yield "    esac"
    yield "}"
    yield 'if [[ "$funcstack[1]" = _striate ]]; then _striate "$@"'
    yield f"else compdef _striate {_NAME}; fi"


_PLAIN = str.maketrans("[]:\\", "();/")
"""Of a text between brackets, what would end it."""


def _zsh_words(words: Words) -> str:
    return " ".join(
        shlex.quote(f"{name}:{text}".rstrip(":").replace("[", "\\["))
        for name, text in words.items()
    )


def _zsh_flags(flags: Sequence[Flag]) -> str:
    shown = []
    for flag in flags:
        text = flag.text[:80].translate(_PLAIN)
        values = f":value:({' '.join(flag.choices)})" if flag.choices else ":value:_files"
        shown.append(shlex.quote(f"*{flag.name}[{text}]{values if flag.takes else ''}"))
    return " ".join(shown)


def fish(verbs: Words, actions: Actions) -> Iterator[str]:
    """Lines for fish, with what each word means."""
    yield "complete -c striate -e"
    for verb, text in verbs.items():
        yield (
            f"complete -c striate -n __fish_use_subcommand -f -a {verb} -d {shlex.quote(text[:80])}"
        )
    for verb, (names, each) in actions.items():
        for name, text in names.items():
            unset = f"__fish_seen_subcommand_from {verb}; and not __fish_seen_subcommand_from "
            yield (
                f"complete -c striate -n '{unset}{' '.join(names)}' -f -a {name}"
                f" -d {shlex.quote(text[:80])}"
            )
        for action, flags in each.items():
            seen = f"__fish_seen_subcommand_from {verb}"
            seen += f"; and __fish_seen_subcommand_from {action}" if action else ""
            for flag in flags:
                values = f" -xa {shlex.quote(' '.join(flag.choices))}" if flag.choices else " -r"
                yield (
                    f"complete -c striate -n '{seen}' -l {flag.name[2:]}"
                    f"{values if flag.takes else ''} -d {shlex.quote(flag.text[:80])}"
                )


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
