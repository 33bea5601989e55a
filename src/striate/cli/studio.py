"""`striate studio [RUNS…]`: the page in which one sees it learn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from striate.cli.flags import parse


def studio(argv: Sequence[str]) -> int:
    """Serve the page until Ctrl-C."""
    return int(parse(_studio, "studio", argv))


def _studio(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = (),
    data: Path | None = None,
    home: Path = Path("runs"),
    port: int | None = None,
    host: str = "127.0.0.1",
    open: bool = False,
    read_only: bool = False,
) -> int:
    """A page in the browser: runs as they train, what a network sees, data, a playground.

    It listens on this machine only and prints one address with a token. Trainings that are started
    from the page are processes of their own: they go on when the studio ends.

    Args:
        runs: folders of runs, or runs, beside those in --home
        data: directory whose folders and archives can be trained on, and that uploads go to
        home: folder of runs, to which new ones go
        port: of the page (default 8400, or the next that is free)
        host: address to listen on; other than 127.0.0.1 others can reach it
        open: open it in the browser
        read_only: show only: nothing can be started, stopped or marked
    """
    from striate.studio.server import serve

    serve(runs, home=home, data=data, port=port, host=host, open_browser=open,
          read_only=read_only, say=lambda text: print(text, flush=True))  # fmt: skip
    return 0
