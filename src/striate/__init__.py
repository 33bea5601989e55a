"""Striate: train convolutional networks on images, and know what is going on.

    import striate
    run = striate.train("folder", epochs=5)
    run.evaluate()
    run.predict(["cat.jpg"])

Everything here is imported when it is first used, so `import striate` and `striate --help` answer
at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from striate.api.branch import branch as branch
    from striate.api.evaluating import compare as compare
    from striate.api.evaluating import slices as slices
    from striate.api.evaluating import thresholds as thresholds
    from striate.api.explaining import explain_run as explain_run
    from striate.api.exporting import export_run as export_run
    from striate.api.exporting import open_export as open_export
    from striate.api.folds import Folds as Folds
    from striate.api.folds import cross_validate as cross_validate
    from striate.api.ladder import climb_ladder as climb_ladder
    from striate.api.mapping import make_map as make_map
    from striate.api.preflight import run_preflight as run_preflight
    from striate.api.rate import find_rate as find_rate
    from striate.api.runs import Run as Run
    from striate.api.search import stream_search as stream_search
    from striate.api.stream import stream as stream
    from striate.api.train import resume as resume
    from striate.api.train import train as train
    from striate.api.transfer import advise_transfer as advise_transfer
    from striate.api.transfer import probe as probe
    from striate.api.zoo import add_weights as add_weights
    from striate.api.zoo import list_weights as list_weights
    from striate.core.errors import StriateError as StriateError
    from striate.core.recipe import PRESETS as PRESETS
    from striate.core.recipe import Recipe as Recipe
    from striate.core.recipe_io import load_recipe as load_recipe
    from striate.doctor.diagnose import diagnose as diagnose
    from striate.doctor.diagnosis import Diagnosis as Diagnosis
    from striate.metrics.tally import Tally as Tally
    from striate.tasks.classify.answer import Prediction as Prediction
    from striate.tasks.evaluation import Evaluation as Evaluation

__version__ = "0.1.0"

_FRONT_DOOR = {
    "Folds": "striate.api.folds:Folds",
    "branch": "striate.api.branch:branch",
    "compare": "striate.api.evaluating:compare",
    "cross_validate": "striate.api.folds:cross_validate",
    "Diagnosis": "striate.doctor.diagnosis:Diagnosis",
    "diagnose": "striate.doctor.diagnose:diagnose",
    "Evaluation": "striate.tasks.evaluation:Evaluation",
    "PRESETS": "striate.core.recipe:PRESETS",
    "Prediction": "striate.tasks.classify.answer:Prediction",
    "Recipe": "striate.core.recipe:Recipe",
    "Run": "striate.api.runs:Run",
    "StriateError": "striate.core.errors:StriateError",
    "Tally": "striate.metrics.tally:Tally",
    "add_weights": "striate.api.zoo:add_weights",
    "advise_transfer": "striate.api.transfer:advise_transfer",
    "climb_ladder": "striate.api.ladder:climb_ladder",
    "explain_run": "striate.api.explaining:explain_run",
    "export_run": "striate.api.exporting:export_run",
    "find_rate": "striate.api.rate:find_rate",
    "load_recipe": "striate.core.recipe_io:load_recipe",
    "list_weights": "striate.api.zoo:list_weights",
    "make_map": "striate.api.mapping:make_map",
    "open_export": "striate.api.exporting:open_export",
    "probe": "striate.api.transfer:probe",
    "run_preflight": "striate.api.preflight:run_preflight",
    "resume": "striate.api.train:resume",
    "slices": "striate.api.evaluating:slices",
    "stream_search": "striate.api.search:stream_search",
    "stream": "striate.api.stream:stream",
    "thresholds": "striate.api.evaluating:thresholds",
    "train": "striate.api.train:train",
}

__all__ = sorted(_FRONT_DOOR)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _FRONT_DOOR:
        raise AttributeError(f"module 'striate' has no attribute '{name}'")
    module, _, attribute = _FRONT_DOOR[name].partition(":")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
