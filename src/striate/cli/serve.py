"""`striate serve RUN|FILE`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from striate.cli.flags import parse


def serve(argv: Sequence[str]) -> int:
    """Answer images over HTTP until Ctrl-C."""
    return int(parse(_serve, "serve", argv))


def _serve(
    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|FILE")],
    host: str = "127.0.0.1",
    port: int = 8500,
    token: str = "",
    views: str = "",
    batch: int = 32,
    wait_ms: float = 2.0,
    waiting: int = 256,
    seconds: float = 10.0,
    max_mb: float = 20.0,
    max_images: int = 64,
) -> int:
    """A network as a service: images in, answers as JSON.

    POST /predict takes the files of a form, the bytes of an image, or {"images": [base64, …]};
    /healthz, /readyz and /metrics are for machines that look after it, / is a page to drop pictures
    on, /openapi.json describes all. What is too large, too much or no image is refused in words.

    Args:
        source: a run directory, or a file that `striate export` wrote
        host: address to listen on; other than 127.0.0.1 others can reach it, with a token
        port: to listen on, 0 for any that is free
        token: that each request must bring (default: STRIATE_TOKEN of the environment; one is made
            where others can reach the service and none is given)
        views: of a run, the test views that are averaged (default: those of its recipe)
        batch: images that go through the network together, at most
        wait_ms: how long these gather, in milliseconds
        waiting: images that are at work or wait, of all callers; more are turned away (503)
        seconds: for a request
        max_mb: of a request, in megabytes
        max_images: of a request
    """
    from striate.core.errors import RecipeError
    from striate.serve.server import serve
    from striate.serve.service import Bounds

    given = {"batch": batch, "wait-ms": wait_ms + 1, "waiting": waiting, "seconds": seconds,
             "max-mb": max_mb, "max-images": max_images}  # fmt: skip
    for name, value in given.items():
        if not value > 0:
            raise RecipeError(f"--{name}: expected a number above 0")
    if waiting < batch:
        raise RecipeError(f"--waiting {waiting}: fewer images than a batch of {batch}")
    bounds = Bounds(int(max_mb * 1e6), max_images, waiting, seconds, batch, wait_ms / 1000)
    token = token or os.environ.get("STRIATE_TOKEN", "")
    serve(source, host=host, port=port, token=token, bounds=bounds, views=views,
          say=lambda text: print(text, flush=True))  # fmt: skip
    return 0
