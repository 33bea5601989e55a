"""How long and how much memory: measured on a few steps."""

from __future__ import annotations

import resource
import sys

from striate.core.findings import Finding
from striate.models.fit import bytes_per_image
from striate.preflight.bench import Bench
from striate.training.timing import closing_seconds, seconds_per_epoch


def estimate(bench: Bench) -> Finding:
    """Wall time of preparing, all epochs and scoring, and the memory of a step."""
    recipe, splits = bench.recipe, bench.found.dataset.splits
    epochs, micro, batch = recipe.budget.epochs, recipe.device.micro_batch, recipe.optim.batch_size
    size, channels = recipe.data.image_size, recipe.data.channels
    assert epochs != "auto" and size != "auto" and channels != "auto"  # noqa: PT018
    assert batch != "auto"
    epoch, validation = seconds_per_epoch(bench.job, bench.fresh())
    closing = closing_seconds(validation, splits, recipe.augment.test_views)
    seconds = bench.prepared + epochs * epoch + closing
    parameters = sum(p.numel() for p in bench.fresh().net.parameters())
    at_once = micro if isinstance(micro, int) and micro else min(batch, len(splits["train"]))
    step = 16 * parameters + at_once * bytes_per_image(bench.fresh().net.backbone, channels, size)  # type: ignore[arg-type]
    peak = _peak_bytes()
    evidence = {
        "seconds": seconds,
        "seconds_per_epoch": epoch,
        "epochs": epochs,
        "seconds_to_prepare": bench.prepared,
        "seconds_to_score": closing,
        "step_mb": step / 2**20,
        "peak_mb": peak / 2**20,
    }
    text = (
        f"about {clock(seconds)}: {clock(bench.prepared)} to prepare the data, {epochs} epochs of "
        f"{clock(epoch)}, {clock(closing)} for the scores; "
        f"{peak / 2**20:,.0f} MB so far, of which a step needs {step / 2**20:,.0f}"
    )
    return Finding("estimate", "note", text, evidence)


def clock(seconds: float) -> str:
    """`0.4 s`, `42 s`, `3.1 min`, `2.2 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
