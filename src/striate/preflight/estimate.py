"""How long and how much memory: measured on a few steps."""

from __future__ import annotations

import resource
import sys

from striate.core.findings import Finding
from striate.models.fit import bytes_per_image
from striate.plan.timing import closing_seconds, seconds_per_epoch
from striate.preflight.bench import Bench


def estimate(bench: Bench) -> Finding:
    """Wall time of preparing, all epochs and scoring, and the memory of a step."""
    settled, splits = bench.settled, bench.data.dataset.splits
    epochs, size, channels = settled.epochs, settled.image_size, settled.architecture.channels
    epoch, validation = seconds_per_epoch(bench.job, bench.fresh())
    closing = closing_seconds(validation, splits, settled.test_views)
    seconds = bench.seconds + epochs * epoch + closing
    parameters = sum(p.numel() for p in bench.fresh().net.parameters())
    at_once = settled.micro_batch or min(settled.batch_size, len(splits["train"]))
    step = 16 * parameters + at_once * bytes_per_image(bench.fresh().net.backbone, channels, size)  # type: ignore[arg-type]
    peak = _peak_bytes()
    evidence = {
        "seconds": seconds,
        "seconds_per_epoch": epoch,
        "epochs": epochs,
        "seconds_to_prepare": bench.seconds,
        "seconds_to_score": closing,
        "step_mb": step / 2**20,
        "peak_mb": peak / 2**20,
    }
    text = (
        f"about {clock(seconds)}: {clock(bench.seconds)} to prepare the data, {epochs} epochs of "
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
