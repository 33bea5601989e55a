"""The laws of targets."""

from __future__ import annotations

import numpy as np

from striate.core.geometry import identity
from striate.data.targets import Targets, concatenated
from striate.testing.laws import Laws


def check_targets(targets: Targets, classes: int = 0) -> list[str]:
    """The laws of some targets of a kind, of at least four images.

    classes: how many classes they are of; 0: the kind has none.
    """
    laws, count = Laws(f"targets of the kind {targets.kind}"), len(targets)
    laws.check("there are at least four images to try them on", count >= 4, str(count))
    laws.check("they are Targets: no method is missing", isinstance(targets, Targets))
    digests = _digests(targets)
    chosen = np.array([count - 1, 0, 2])
    taken = _digests(targets.take(chosen))
    laws.check("take gives those that were asked for", taken == [digests[i] for i in chosen])
    laws.check("taking no image gives none", len(targets.take(chosen[:0])) == 0)
    halves = [targets.take(np.arange(count)[:2]), targets.take(np.arange(count)[2:])]
    laws.check("parts put together are the whole", _digests(concatenated(halves)) == digests)
    still = targets.moved(identity(count), 64)
    laws.check("pixels that stay leave them as they are", _digests(still) == digests)
    if not targets.placed:
        turned = np.tile([[[-1.0, 0, 64], [0, 1, 0]]], (count, 1, 1))
        laws.check("without places they never move", _digests(targets.moved(turned, 64)) == digests)
    laws.check("there is a stratum for each image", targets.strata().shape == (count,))
    weights = targets.balanced()
    laws.check("sampling weights are above 0", weights.shape == (count,) and (weights > 0).all())
    laws.check("not more images are labelled than there are", 0 <= targets.labelled() <= count)
    counts = targets.counts(classes)
    laws.check("there is a count for each class", len(counts) == classes, f"{len(counts)} counts")
    having = [int(targets.having(c).sum()) for c in range(classes)]
    laws.check("counts are of the images that have the class", having == counts.tolist())
    members = [[c in targets.of(i) for i in range(count)] for c in range(classes)]
    known = [targets.having(c).tolist() for c in range(classes)]
    laws.check("an image's classes are those that it has", members == known)
    turned_over = targets.renumbered(np.arange(classes)[::-1].copy(), classes)
    laws.check("another class map renames", turned_over.counts(classes).tolist() == having[::-1])
    return laws.kept


def _digests(targets: Targets) -> list[bytes]:
    return [targets.digest(i) for i in range(len(targets))]
