"""The studio's routes. Each reads or asks something; what it says is a message of `messages.py`.

Nothing here takes a path from a client: runs and data are named by the ids of the catalogue.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from starlette.staticfiles import StaticFiles

import striate
from striate.core import recipe_io
from striate.core.errors import DataError, StriateError
from striate.core.recipe import Recipe
from striate.core.strict_json import one_line
from striate.doctor.saying import knobs_of
from striate.labs.playground import PRESETS
from striate.studio import play
from striate.studio.catalogue import Catalogue, opaque
from striate.studio.compare import compare
from striate.studio.knobs import knobs
from striate.studio.live import curves_of
from striate.studio.look import Looker
from striate.studio.messages import Problem, Session
from striate.studio.pulse import Pulse
from striate.studio.sets import Filter, Sets, Shown
from striate.studio.uploads import keep_upload
from striate.textbook.arrays import TextbookError

STATIC = Path(__file__).parent / "static"

Wanted = Annotated[Filter, Depends()]


@dataclass(frozen=True)
class Options:
    """runs: folders of runs, or runs. home: where new ones go. data: where uploads go."""

    runs: tuple[Path, ...] = ()
    home: Path = Path("runs")
    data: Path | None = None
    read_only: bool = False


def make_app(options: Options) -> FastAPI:
    """The application, without its guard."""
    catalogue = Catalogue(options.runs, options.home.absolute(), options.data)
    pulse = Pulse(catalogue)

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        pulse.stop()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=life)
    app.exception_handler(StriateError)(_refused)
    app.exception_handler(Exception)(_broken)
    _session_routes(app, options, catalogue)
    _run_routes(app, catalogue, pulse)
    _looking_routes(app, catalogue)
    _lab_routes(app)
    _page_routes(app)
    return app


def _session_routes(app: FastAPI, options: Options, catalogue: Catalogue) -> None:
    @app.get("/api/session")
    def session() -> Response:
        folder = options.data.name if options.data else ""
        return said(Session(striate.__version__, options.read_only, folder))

    @app.get("/api/knobs")
    def all_knobs() -> Response:
        return said(list(knobs()))

    @app.get("/api/sources")
    def sources() -> Response:
        return said(catalogue.sources())

    @app.post("/api/sources")
    async def upload(request: Request, name: str) -> Response:
        if options.data is None:
            raise DataError(
                "this studio was started without a data directory",
                "Start it with --data DIR to drop folders and archives here.",
            )
        await keep_upload(request.stream(), options.data, name)
        return said(catalogue.sources())


def _run_routes(app: FastAPI, catalogue: Catalogue, pulse: Pulse) -> None:
    @app.get("/api/runs")
    def runs() -> Response:
        catalogue.look()
        catalogue.read()
        catalogue.look_who_runs()
        return said([*catalogue.waiting(), *catalogue.rows()])

    @app.get("/api/runs/{run}")
    def run(run: str) -> Response:
        return said(catalogue.detail(catalogue.run(run)))

    @app.get("/api/runs/{run}/curves")
    def curves(run: str) -> Response:
        return said(curves_of(catalogue.run(run)))

    @app.get("/api/compare")
    def side_by_side(one: str, other: str) -> Response:
        return said(compare(catalogue.run(one), catalogue.run(other)))

    @app.post("/api/trainings")
    def start(asked: dict[str, Any]) -> Response:
        given = _typed(dict(asked.get("knobs") or {}))
        source = catalogue.source(str(asked.get("source", "")))
        wanted = recipe_io.with_overrides(Recipe(), {**given, "data.source": source})
        return _begun(catalogue, catalogue.jobs.start(wanted))

    @app.post("/api/runs/{run}/branch")
    def branch(run: str, asked: dict[str, Any]) -> Response:
        tail, step = catalogue.run(run), asked.get("step")
        if asked.get("remedy"):
            folder = catalogue.jobs.try_remedy(tail.path, knobs_of(str(asked["remedy"])))
        else:
            given = _typed(dict(asked.get("knobs") or {}))
            folder = catalogue.jobs.branch(tail.path, given, None if step is None else int(step))
        return _begun(catalogue, folder)

    @app.post("/api/runs/{run}/pause")
    def pause(run: str) -> Response:
        catalogue.jobs.pause(catalogue.run(run).path)
        return said({})

    @app.post("/api/runs/{run}/stop")
    def stop(run: str) -> Response:
        catalogue.jobs.pause(catalogue.run(run).path, at_once=True)
        return said({})

    @app.post("/api/runs/{run}/resume")
    def resume(run: str) -> Response:
        catalogue.jobs.resume(catalogue.run(run).path)
        return said({})

    @app.delete("/api/waiting/{job}")
    def forget(job: str) -> Response:
        found = catalogue.job(job)
        if found.alive:
            raise DataError("this training is at work", "Stop it first.")
        catalogue.jobs.forget(found)
        return said({})

    @app.websocket("/api/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await pulse.follow(socket.receive_text, socket.send_text)


def _looking_routes(app: FastAPI, catalogue: Catalogue) -> None:
    looker, lock = Looker(), threading.Lock()
    sets = Sets(catalogue.home, looker)

    def shown(name: str) -> Shown:
        with lock:  # nothing is opened twice
            if name in catalogue.tails:
                return sets.of_run(name, catalogue.run(name).path)
            return sets.of_source(name, catalogue.source(name))

    def tail_of(name: str) -> Any:
        return catalogue.run(name) if name in catalogue.tails else None

    @app.get("/api/runs/{run}/strip")
    def strip(run: str) -> Response:
        return said(looker.strip(catalogue.run(run)))

    @app.get("/api/runs/{run}/inside")
    def inside(run: str, image: int = 0, layer: str = "") -> Response:
        return said(looker.inside(catalogue.run(run), image, layer))

    @app.get("/api/runs/{run}/patches")
    def patches(run: str, unit: int, layer: str = "") -> Response:
        return said(looker.patches(catalogue.run(run), layer, unit))

    @app.post("/api/ask/{run}")
    async def ask(run: str, request: Request) -> Response:
        picture = await request.body()

        return said(await asyncio.to_thread(looker.ask, catalogue.run(run), picture))

    @app.get("/api/sets/{name}")
    def facts(name: str) -> Response:
        return said(sets.facts(shown(name)))

    @app.get("/api/sets/{name}/images")
    def images(name: str, wanted: Wanted, start: int = 0, count: int = 0) -> Response:
        return said(sets.selection(shown(name), wanted, max(0, start), min(count, 1000)))

    @app.get("/api/sets/{name}/sheet")
    def sheet(
        name: str, wanted: Wanted, start: int = 0, count: int = 100, side: int = 56,
        columns: int = 10,
    ) -> Response:  # fmt: skip
        found = shown(name)
        numbers = sets.select(found, wanted)[max(0, start) :]
        side, columns = min(max(side, 8), 160), min(max(columns, 1), 40)
        picture = sets.sheet(found, numbers[: min(max(count, 0), 400)].tolist(), side, columns)
        return Response(picture, media_type="image/jpeg", headers={"cache-control": "private"})

    @app.get("/api/sets/{name}/images/{number}")
    def image(name: str, number: int) -> Response:
        return said(sets.image(shown(name), number, tail_of(name)))

    @app.post("/api/sets/{name}/doubt")
    def doubt(name: str, asked: dict[str, Any]) -> Response:
        numbers = asked.get("numbers")
        if not isinstance(numbers, list) or not all(isinstance(n, int) for n in numbers):
            raise DataError("expected the numbers of images")
        found, doubtful = shown(name), bool(asked.get("doubtful", True))
        with lock:
            return said(sets.mark(found, numbers, doubtful))

    @app.post("/api/sets/{name}/check")
    def check(name: str) -> Response:
        return said(sets.check(shown(name)))

    @app.get("/api/sets/{name}/map")
    def map_of(name: str, method: str = "pca", images: int = 2000) -> Response:
        return said(sets.map(shown(name), method, min(max(images, 10), 10_000)))


def _lab_routes(app: FastAPI) -> None:
    answers: dict[str, Callable[[Mapping[str, Any]], Any]] = {
        "descend": play.descend, "graph": play.graph, "convolution": play.convolution,
    }  # fmt: skip

    @app.post("/api/labs/{lab}")
    def lab(lab: str, asked: dict[str, Any]) -> Response:
        if lab not in answers:
            raise DataError("there is no such page")
        try:
            return said(answers[lab](asked))
        except TextbookError as error:
            raise DataError(str(error)) from None
        except (TypeError, ValueError):
            raise DataError("a number was expected") from None

    @app.get("/api/labs/presets")
    def presets() -> Response:
        return said({n: {"about": a, "settings": asdict(s)} for n, (a, s) in PRESETS.items()})

    @app.websocket("/api/play")
    async def playground(socket: WebSocket) -> None:
        await socket.accept()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await play.play(socket.receive_text, socket.send_bytes)


def _page_routes(app: FastAPI) -> None:
    app.mount("/assets", StaticFiles(directory=STATIC / "assets", check_dir=False))

    @app.get("/{path:path}")
    def page(path: str) -> Response:
        """Every page is the same file; the address tells it what to show."""
        if path.startswith("api/"):
            return said(Problem("there is nothing at this address", ""), 404)
        try:
            text = (STATIC / "index.html").read_bytes()
        except OSError:
            raise DataError("the page was not built", "make studio builds it.") from None
        return Response(text, media_type="text/html; charset=utf-8")


def said(value: Any, status: int = 200) -> Response:
    """A message as strict JSON."""
    return Response(one_line(_plain(value)), status, media_type="application/json")


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _begun(catalogue: Catalogue, folder: Path) -> Response:
    catalogue.look()
    name = opaque(folder)
    return said({"id": name, "name": folder.name, "there": name in catalogue.tails})


def _typed(given: dict[str, Any]) -> dict[str, Any]:
    """Knobs of a form as a recipe holds them. Raises DataError for data, which are named by id."""
    if given.keys() & {"data.source", "data"}:
        raise DataError("data are chosen from the list", "It has what --data names.")
    usual = recipe_io.flat(Recipe())
    return {
        name: tuple(value) if isinstance(usual.get(name), tuple) else value
        for name, value in given.items()
    }


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, StriateError)
    return said(Problem(error.message, error.hint), 400)


async def _broken(_: Request, error: Exception) -> Response:
    """What went wrong is for the terminal; the page learns that it is not its fault."""
    traceback.print_exception(error)
    text = f"the studio failed ({type(error).__name__}); its terminal says more"
    return said(Problem(text, ""), 500)
