"""Starting the studio: a socket on loopback, one address with a token, a browser."""

from __future__ import annotations

import contextlib
import html
import socket
import tempfile
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path

from striate.core.errors import MissingExtraError, StriateError
from striate.core.listening import LOOPBACK, check_port, listen
from striate.core.sharing import be_modest
from striate.studio.guard import Guard, new_token

PORT = 8400
_PRIORITY = 10
_ANY = ("0.0.0.0", "::")


def serve(
    runs: tuple[Path, ...] = (),
    *,
    home: Path = Path("runs"),
    data: Path | None = None,
    port: int | None = None,
    host: str = "127.0.0.1",
    open_browser: bool = False,
    read_only: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until Ctrl-C. port: `PORT` or the next that is free; 0: any that is free. say: is told
    the address.

    Raises MissingExtraError without the packages of `striate[studio]`, StriateError for a port that
    is taken or that there is not, and for data, runs or a home that are no folders.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn
        import websockets  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(str(error.name), "studio", "for the studio") from None
    from striate.studio.app import Options, make_app

    for folder in (*runs, *((data,) if data else ())):
        if not folder.is_dir():
            raise StriateError(f"no folder {folder}", "Name folders of runs, or runs.")
    if home.exists() and not home.is_dir():
        raise StriateError(f"{home} is a file", "--home names the folder to which new runs go.")
    if port is not None:
        check_port(port)
    import torch

    torch.set_num_threads(1)  # a training has the other cores
    ports = [*range(PORT, PORT + 20), 0] if port is None else [port]
    listening = listen(host, ports, "Choose another one: --port N, or leave it out.")
    number = listening.getsockname()[1]
    guard = Guard(
        make_app(Options(tuple(r.absolute() for r in runs), home, data and data.absolute(),
                         read_only)),
        new_token(), _names(host), number, read_only,
    )  # fmt: skip
    shown = socket.gethostname() if host in _ANY else _shown(host)
    address = f"http://{shown}:{number}/?token={guard.token}"
    say(f"the studio: {address}")
    if host not in LOOPBACK:
        say(
            f"It can be reached from other machines ({host}), without encryption: whoever sees the "
            "address can steer it."
        )
    say("Ctrl-C ends the studio; trainings go on.")
    # A training that wants the processor has it first; the launcher of trainings, a thread that is
    # there already, keeps the usual priority.
    be_modest(_PRIORITY)
    config = uvicorn.Config(
        guard, log_level="critical", access_log=False, server_header=False, ws_max_size=1_000_000,
        timeout_graceful_shutdown=1, ws="websockets-sansio",
    )  # fmt: skip
    with contextlib.suppress(KeyboardInterrupt), _opened(address, open_browser):
        uvicorn.Server(config).run(sockets=[listening])


def _names(host: str) -> frozenset[str]:
    """Under which names a browser may ask."""
    names = {"127.0.0.1", "localhost", "[::1]"}
    if host in _ANY:
        names.add(socket.gethostname().lower())
    elif host not in LOOPBACK:
        names.add(_shown(host))
    return frozenset(names)


@contextlib.contextmanager
def _opened(address: str, wanted: bool) -> Iterator[None]:
    """The browser is given a private file that leads to the address: other users of this machine
    see what a browser is started with, and so would see the token."""
    if not wanted:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "studio.html"
        page.write_text(f'<meta http-equiv="refresh" content="0;url={html.escape(address)}">')
        webbrowser.open(page.as_uri())
        yield


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
