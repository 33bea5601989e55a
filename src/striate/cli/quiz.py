"""`striate lab quiz [TOPIC]`: questions, checked answers, explanations."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice
from typing import Annotated

import tyro

from striate.cli.flags import parse, refuse_below_one, refuse_negative, wrapped


def quiz(argv: Sequence[str]) -> int:
    """Ask."""
    return int(parse(_quiz, "lab quiz", argv))


def _quiz(
    topic: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[TOPIC]")] = "",
    questions: int = 6,
    seed: int | None = None,
    sheet: bool = False,
) -> int:
    """Questions with numbers as answers; a wrong one is explained.

    Args:
        topic: sizes, parameters, receptive-fields, backpropagation, counts, schedules; all in turn
            where none is named
        questions: how many
        seed: the same seed asks the same questions (default: others each time)
        sheet: print the questions, then their answers, and ask nothing
    """
    from striate.core.errors import StriateError
    from striate.labs import quiz as made

    refuse_below_one(questions=questions)
    if seed is None:
        import secrets

        seed = secrets.randbelow(10_000)
    refuse_negative(seed)
    asked = list(islice(made.questions(topic, seed), questions))
    if sheet:
        for number, one in enumerate(asked, start=1):
            print(wrapped(f"{number}. {one.text}", 0))
        print(f"\nAnswers (seed {seed})")
        for number, one in enumerate(asked, start=1):
            print(wrapped(f"{number}. {one.answer:.4g}: {one.why}", 0))
        return 0
    right = answered = 0
    for number, one in enumerate(asked, start=1):
        print(wrapped(f"{number} of {questions}. {one.text}", 0))
        while True:
            print("> ", end="", flush=True)
            given = sys.stdin.readline()
            if not given or given.strip().lower() in ("q", "quit"):
                print(f"\n{right} of {answered} right. The same questions: --seed {seed}")
                return 0
            try:
                good = one.right(given)
            except StriateError as error:
                print(f"{error.message}. {error.hint} q ends the quiz.")
                continue
            break
        answered += 1
        right += good
        print(wrapped(("Right: " if good else f"No, it is {one.answer:.4g}: ") + one.why, 0))
    print(f"\n{right} of {answered} right. The same questions: --seed {seed}")
    return 0
