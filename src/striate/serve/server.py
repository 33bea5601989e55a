"""`striate serve`: from a run or a file to a service that listens."""

from __future__ import annotations

import contextlib
import secrets
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from striate.core.errors import MissingExtraError
from striate.core.listening import LOOPBACK, check_port, listen
from striate.serve.service import Bounds, Service, open_service

PORT = 8500
_SWITCH = 0.0005
"""Seconds for which a thread may hold the interpreter while the one that answers callers waits."""
USUAL = Bounds()


def serve(
    source: Path,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    token: str = "",
    bounds: Bounds = USUAL,
    views: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve a run or an exported file until SIGTERM or Ctrl-C; what was begun is answered first.

    host: an address that others can reach needs a token; one is made where none is given. port: 0:
    any that is free. say: is told the address. Raises MissingExtraError without the packages of
    `striate[serve]`, StriateError for a port that is taken, and what `open_service` raises.
    """
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise MissingExtraError(str(error.name), "serve", "for the service") from None
    from striate.serve.app import make_app

    check_port(port)
    sys.setswitchinterval(_SWITCH)
    local = host in LOOPBACK
    made = "" if token or local else secrets.token_urlsafe(24)
    service = open_service(source, bounds, views)
    gate, _ = make_app(service, token or made, local=local)
    hint = "Choose another one: --port N, or 0 for any that is free."
    listening = listen(host, [port], hint, backlog=2048)
    config = uvicorn.Config(
        gate, log_level="warning", access_log=False, server_header=False, lifespan="off",
        timeout_graceful_shutdown=int(bounds.seconds) + 1, backlog=2048,
    )  # fmt: skip
    threading.Thread(target=_make_ready, args=(service, gate), daemon=True).start()
    shown = f"[{host}]" if ":" in host else host
    say(f"{source} answers at http://{shown}:{listening.getsockname()[1]} (POST /predict)")
    if made:
        say(f"Others can reach it, so each request needs: Authorization: Bearer {made}")
    say("Ctrl-C ends it.")
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again when it has ended
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
    gate.ready = False
    service.close()


def _make_ready(service: Service, gate: object) -> None:
    service.warm_up()
    gate.ready = True  # type: ignore[attr-defined]
