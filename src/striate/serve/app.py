"""The service's addresses: predict, alive, ready, metrics, a page."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.exceptions import HTTPException as StarletteError

from striate import __version__
from striate.data.decode import UndecodableError
from striate.serve.service import Service

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
RETRY_AFTER = 1
"""Seconds after which a caller that was turned away may come again."""
_TIMES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_OPEN = ("/healthz", "/readyz")
_LOCAL = ("127.0.0.1", "localhost", "[::1]")
_BODIES = {
    "multipart/form-data": {"schema": {"type": "object", "properties": {
        "image": {"type": "array", "items": {"type": "string", "format": "binary"}}}}},
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    "image/*": {"schema": {"type": "string", "format": "binary"}},
    "application/json": {"schema": {"type": "object", "properties": {
        "images": {"type": "array", "items": {"type": "string", "format": "byte"}}}}},
}  # fmt: skip


class Counts:
    """What `/metrics` tells."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.requests = Counter("striate_requests", "Requests by status", ["status"], registry=own)
        self.images = Counter("striate_images", "Images that were answered", registry=own)
        self.waiting = Gauge(
            "striate_waiting_images", "Images that are at work or wait", registry=own
        )
        self.seconds = Histogram(
            "striate_request_seconds", "Time of an answered request", buckets=_TIMES, registry=own
        )


class Gate:
    """Stands before the application: a request is refused before its body is read where it may not
    come in, is too large, or too many are at work."""

    def __init__(self, app: Any, service: Service, counts: Counts, token: str, local: bool) -> None:
        self._app, self._service, self._counts = app, service, counts
        self._token, self._local = token, local
        self.waiting, self.ready = 0, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal((scope["method"], scope["path"]), headers)
        if refusal is not None:
            self._counts.requests.labels(refusal.status_code).inc()
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, what: tuple[str, str], headers: dict[bytes, str]) -> Response | None:
        host = headers.get(b"host", "").rpartition(":")[0] or headers.get(b"host", "")
        if self._local and host not in _LOCAL:
            return said(403, f"this service answers requests to this machine, not to {host!r}")
        if self._token and what[1] not in _OPEN and not self._known(headers):
            return said(401, "a token is needed", {"WWW-Authenticate": "Bearer"})
        return (
            self._too_much(headers.get(b"content-length", ""))
            if what == ("POST", "/predict")
            else None
        )

    def _too_much(self, length: str) -> Response | None:
        bounds = self._service.bounds
        if not length.isdigit():
            return said(411, "the length of the request must be said (Content-Length)")
        if int(length) > bounds.body:
            return said(413, f"at most {bounds.body:,} bytes a request")
        return None if self.ready and self.waiting < bounds.waiting else busy()

    def _known(self, headers: dict[bytes, str]) -> bool:
        given = headers.get(b"authorization", "").removeprefix("Bearer ")
        return secrets.compare_digest(given.encode(), self._token.encode())


def said(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A refusal in words."""
    return JSONResponse({"error": text}, status, headers)


def busy() -> JSONResponse:
    """What callers are told when too many are at work."""
    return said(503, "too many requests are at work", {"Retry-After": str(RETRY_AFTER)})


def make_app(service: Service, token: str = "", *, local: bool = True) -> tuple[Gate, FastAPI]:
    """(what a server runs, the application behind it). token: callers must send it; local: only
    requests that name this machine are answered."""
    counts = Counts()
    app = FastAPI(
        title="Striate", version=__version__, description="Images in, answers out.",
        docs_url=None, redoc_url=None,  # pages that fetch from other hosts
    )  # fmt: skip
    app.add_exception_handler(RequestValidationError, _wrong_query)
    app.add_exception_handler(StarletteError, _no_such_address)
    gate = Gate(app, service, counts, token, local)

    @app.post("/predict", openapi_extra={"requestBody": {"content": _BODIES, "required": True}})
    async def predict(
        request: Request, top: Annotated[int, Query(ge=1, description="classes to name")] = 1
    ) -> Response:
        """Answer images: files of a form, the bytes of one, or base64 texts in JSON."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(service.bounds.seconds):
                images = await _images(request)
                if not images:
                    raise HTTPException(422, "there is no image in this request")
                if len(images) > service.bounds.images:
                    raise HTTPException(413, f"at most {service.bounds.images} images a request")
                if gate.waiting + len(images) > service.bounds.waiting:
                    counts.requests.labels(503).inc()
                    return busy()
                answers = await _answered(gate, service, images, top)
        except TimeoutError:
            counts.requests.labels(503).inc()
            return busy()
        except HTTPException as error:
            counts.requests.labels(error.status_code).inc()
            return said(error.status_code, str(error.detail))
        counts.requests.labels(200).inc()
        counts.images.inc(len(answers))
        counts.seconds.observe(time.perf_counter() - began)
        return JSONResponse({"answers": [_cut(answer.to_json(), top) for answer in answers]})

    @app.get("/healthz")
    async def alive() -> dict[str, str]:
        """Whether the program lives."""
        return {"status": "alive"}

    @app.get("/readyz")
    async def ready() -> Response:
        """Whether it takes requests."""
        if gate.ready and gate.waiting < service.bounds.waiting:
            return JSONResponse({"status": "ready"})
        return said(503, "not ready" if not gate.ready else "too many requests are at work")

    @app.get("/metrics")
    async def metrics() -> Response:
        """Figures for Prometheus."""
        counts.waiting.set(gate.waiting)
        return Response(generate_latest(counts.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/classes")
    async def classes() -> dict[str, Any]:
        """What can be answered."""
        return {"classes": list(service.predictor.classes), "size": service.predictor.size}

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        text = resources.files("striate.serve").joinpath("page.html").read_text(encoding="utf-8")
        policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        return HTMLResponse(text, headers={
            "Content-Security-Policy": policy + "img-src blob:; connect-src 'self'",
            "X-Content-Type-Options": "nosniff",
        })  # fmt: skip

    return gate, app


async def _wrong_query(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors()]
    return said(422, "; ".join(faults))


async def _no_such_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteError)
    return said(error.status_code, f"{request.method} {request.url.path}: {error.detail}")


async def _answered(
    gate: Gate, service: Service, images: list[tuple[str, bytes]], top: int
) -> list[Any]:
    """An answer each. Raises HTTPException that names every image that cannot be used."""
    gate.waiting += len(images)
    try:
        asked = [asyncio.wrap_future(service.ask(data, name, top)) for name, data in images]
        found = await asyncio.gather(*asked, return_exceptions=True)
    finally:
        gate.waiting -= len(images)
    bad = [
        f"{name}: {answer}"
        for (name, _), answer in zip(images, found, strict=True)
        if isinstance(answer, UndecodableError)
    ]
    if bad:
        raise HTTPException(422, "; ".join(bad))
    for answer in found:
        if isinstance(answer, BaseException):
            raise answer
    return found


async def _images(request: Request) -> list[tuple[str, bytes]]:
    """(name, bytes) of each image of a request. Raises HTTPException."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        form = await request.form(max_files=1000, max_fields=10)
        try:
            files = [value for _, value in form.multi_items() if not isinstance(value, str)]
            return [(file.filename or "image", await file.read()) for file in files]
        finally:
            await form.close()
    body = await request.body()
    if kind == "application/json":
        return _from_json(body)
    return [("image", body)] if body else []


def _from_json(body: bytes) -> list[tuple[str, bytes]]:
    try:
        texts = json.loads(body)["images"]
        return [
            (f"image {number}", base64.b64decode(text, validate=True))
            for number, text in enumerate(texts, start=1)
        ]
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        raise HTTPException(
            422, 'expected {"images": ["…", …]} with the bytes of each image in base64'
        ) from None


def _cut(answer: dict[str, Any], top: int) -> dict[str, Any]:
    return {**answer, "top": answer["top"][:top]} if "top" in answer else answer
