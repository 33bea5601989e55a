"""`striate VERB …`. This module imports nothing heavy: `striate --help` must answer at once.

Exit codes: 0 done, 1 a check failed, 2 the user's input is wrong, 130 interrupted.
"""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
from collections.abc import Sequence

from striate.core.errors import StriateError, perhaps
from striate.core.group import leave
from striate.core.sharing import giving_way

_NEW_OBJECTS = 20_000
"""After which Python looks for cycles among them; usually 700."""

VERBS = {
    "train": ("striate.cli.train:train", "train on images: a folder, an archive, IDX, CSV, digits"),
    "search": ("striate.cli.search:search", "try settings: rate, decay, augmentation, any knob"),
    "resume": ("striate.cli.train:resume", "continue a run that was stopped"),
    "branch": ("striate.cli.branch:branch", "train on from a checkpoint with another knob"),
    "studio": ("striate.cli.studio:studio", "see it learn: runs, images, a playground, in a page"),
    "ladder": ("striate.cli.ladder:ladder", "detectors from sliding windows to one stage, timed"),
    "preflight": ("striate.cli.preflight:preflight", "checks before training: minutes, not hours"),
    "lr": ("striate.cli.lr:lr", "find the learning rate, with evidence"),
    "doctor": ("striate.cli.doctor:doctor", "what is wrong with a training, why, what to do"),
    "evaluate": ("striate.cli.evaluate:evaluate", "score a run on its test split or other data"),
    "explain": (
        "striate.cli.explain:explain",
        "what a network has learnt: filters, patches, errors",
    ),
    "report": ("striate.cli.report:report", "one page: what was trained, how good, where it fails"),
    "map": ("striate.cli.map:map_data", "data sets as maps: images that are alike lie together"),
    "predict": ("striate.cli.predict:predict", "classify files, folders, archives with a run"),
    "replay": ("striate.cli.replay:replay", "a run's figures for TensorBoard, CSV, W&B, MLflow"),
    "export": ("striate.cli.export:export", "the network as a file: ONNX, torch or OpenVINO"),
    "serve": ("striate.cli.serve:serve", "answer images over HTTP, from a run or a file"),
    "certify": ("striate.cli.certify:certify", "what a run is made of; --verify repeats a part"),
    "runs": ("striate.cli.runs:runs", "a table of runs; --prune frees space"),
    "data": ("striate.cli.data:data", "look at data before training: `data show DATA`"),
    "transfer": (
        "striate.cli.transfer:transfer",
        "how to use trained weights, by measurement",
    ),
    "probe": ("striate.cli.probe:probe", "linear classifiers on each stage of trained weights"),
    "zoo": ("striate.cli.zoo:zoo", "weights to start from: what there is, what is here"),
    "layers": ("striate.cli.layers:layers", "what a network costs and sees, layer by layer"),
    "gradcheck": ("striate.cli.gradcheck:gradcheck", "check a layer's gradients numerically"),
    "textbook": (
        "striate.cli.textbook:textbook",
        "the mathematics by hand: graph, train, descend",
    ),
    "lab": ("striate.cli.lab:lab", "the lectures' claims as experiments, with verdicts"),
    "completion": ("striate.cli.completion:completion", "tab completion for bash, zsh and fish"),
    "env": ("striate.cli.env:env", "versions, devices, what is fast here, what is missing"),
}

HELP = """\
Striate trains convolutional networks on images and tells you, with evidence, what is going on.

usage: striate VERB [...]        striate VERB --help tells more

{verbs}

start with:  striate train                 the built-in digits, under a minute
             striate train FOLDER          a folder with a sub-folder for each class"""


def main(argv: Sequence[str]) -> int:
    """Run one verb and return the exit code."""
    _bear_any_encoding()
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP.format(verbs=_verb_lines()))
        return 0
    if argv[0] in ("-V", "--version"):
        from striate import __version__

        print(f"striate {__version__}")
        return 0
    return _guarded(argv[0], argv[1:])


def _bear_any_encoding() -> None:
    """A pipe or terminal that is not UTF-8 shows a question mark for a letter that it lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() not in (
            "utf-8",
            "utf8",
        ):
            stream.reconfigure(errors="replace")


def entry() -> None:
    """The console script.

    What is imported makes hundreds of thousands of objects that stay. Python would go through them
    again and again, looking for cycles to free: half a second of each start.
    """
    gc.set_threshold(_NEW_OBJECTS)
    sys.exit(main(sys.argv[1:]))


def _guarded(verb: str, rest: Sequence[str]) -> int:
    try:
        if verb not in VERBS:
            raise StriateError(f"no verb '{verb}'", perhaps(verb, VERBS))
        module, _, function = VERBS[verb][0].partition(":")
        with giving_way():
            code: int = getattr(importlib.import_module(module), function)(rest)
        sys.stdout.flush()
    except StriateError as error:
        print(f"striate: {error.message}", file=sys.stderr)
        if error.hint:
            print(error.hint, file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"\nstriate: {str(stop) or 'stopped'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `striate … | head`: not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        leave()
    return code


def _verb_lines() -> str:
    return "\n".join(f"  {verb:<10} {text}" for verb, (_, text) in VERBS.items())
