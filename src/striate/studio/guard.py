"""Who may ask the studio, and what a page of it may do (FAULTS F21, F23).

The studio listens on loopback. Any web page that a person has open can send requests there, so each
request must name our own host (against DNS rebinding), come from our own origin, and carry the
token: 128 random bits, given once in the address and kept in a cookie that scripts cannot read.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
LARGEST = 20_000_000
"""Bytes of a request's body, uploads apart."""
_SAFE = {"GET", "HEAD"}
_ASKING = ("/api/labs/", "/api/ask/")
"""Requests that compute and change nothing: a studio that only shows answers them too."""


def new_token() -> str:
    """128 random bits as text."""
    return secrets.token_urlsafe(16)


@dataclass
class Guard:
    """Wraps an application: everything that is not ours is refused before it is read.

    hosts: names under which the studio may be asked. upload: the most bytes of an upload.
    """

    app: Any
    token: str
    hosts: frozenset[str]
    port: int
    read_only: bool = False
    upload: int = 4_000_000_000
    refused: int = field(default=0)

    @property
    def cookie(self) -> str:
        """Cookies know no ports: two studios on one machine need two names."""
        return f"striate-{self.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        heads = {name.decode("latin-1"): value.decode("latin-1") for name, value in
                 reversed(scope["headers"])}  # fmt: skip
        if len([1 for name, _ in scope["headers"] if name == b"host"]) != 1:
            await self._refuse(scope, send, 400, "one Host is expected")
        elif not self._named(scope, heads["host"].lower()):
            known = ", ".join(sorted(self.hosts))
            await self._refuse(scope, send, 403, f"this studio is asked under the names {known}")
        elif not self._ours(scope, heads):
            await self._refuse(scope, send, 403, "this address is not asked from other pages")
        elif scope["type"] == "http" and self._arriving(scope):
            await self._welcome(scope, send)
        elif not self._known(heads):
            await self._refuse(
                scope, send, 401, "Open the address that `striate studio` printed: it has a token."
            )
        elif self.read_only and not self._only_asks(scope):
            await self._refuse(scope, send, 403, "this studio only shows (--read-only)")
        else:
            await self._answer(scope, heads, receive, send)

    def _ours(self, scope: Scope, heads: dict[str, str]) -> bool:
        """No other page behind it."""
        site, origin = heads.get("sec-fetch-site", "none"), heads.get("origin")
        page = heads.get("sec-fetch-dest") == "document" and not scope["path"].startswith("/api/")
        if site not in ("none", "same-origin") and not page:
            return False  # a link may lead here, a picture or a script of another page may not
        if origin is None:
            return scope["type"] == "http" and scope["method"] in _SAFE
        kind, _, host = origin.partition("://")
        return kind == "http" and host.lower() == heads["host"].lower()

    def _arriving(self, scope: Scope) -> bool:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        right = hmac.compare_digest(given.encode("latin-1", "replace"), self.token.encode())
        return scope["method"] in _SAFE and right and not scope["path"].startswith("/api/")

    def _known(self, heads: dict[str, str]) -> bool:
        """Other programs on this machine may have set cookies of any form: ours is found anyway."""
        pairs = (part.strip().partition("=") for part in heads.get("cookie", "").split(";"))
        given = {value for name, _, value in pairs if name == self.cookie}
        return any(
            hmac.compare_digest(v.encode("latin-1", "replace"), self.token.encode()) for v in given
        )

    def _named(self, scope: Scope, host: str) -> bool:
        """Whether a Host is ours: this machine's own names on any port (a tunnel has another), what
        was named at the start, or the very address that was reached, which cannot be rebound."""
        name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
        reached = (scope.get("server") or ("", 0))[0]
        return name in self.hosts or name.strip("[]") == reached

    def _only_asks(self, scope: Scope) -> bool:
        if scope["type"] == "websocket":
            return True
        return scope["method"] in _SAFE or scope["path"].startswith(_ASKING)

    async def _welcome(self, scope: Scope, send: Send) -> None:
        """The token goes from the address into a cookie, so that no history keeps it."""
        cookie = f"{self.cookie}={self.token}; HttpOnly; SameSite=Lax; Path=/; Max-Age=2592000"
        path = scope["path"] if scope["path"].startswith("/") else "/"
        path = "/" + path.lstrip("/\\")  # `//other.host` would lead away
        safe = "".join(c for c in path if c.isalnum() or c in "/-_.")
        heads = {**HEADERS, "location": safe, "set-cookie": cookie}
        await _send_all(send, 303, heads, b"")

    async def _refuse(self, scope: Scope, send: Send, status: int, why: str) -> None:
        self.refused += 1
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": why})
            return
        kind = {"content-type": "text/plain; charset=utf-8"}
        await _send_all(send, status, {**HEADERS, **kind}, (why + "\n").encode())

    async def _answer(
        self, scope: Scope, heads: dict[str, str], receive: Receive, send: Send
    ) -> None:
        most = self.upload if scope["path"] == "/api/sources" else LARGEST
        length = heads.get("content-length", "0")
        if not length.isdigit() or int(length) > most:
            await self._refuse(scope, send, 413, f"at most {most / 1e6:,.0f} MB are taken")
            return
        taken = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                return {"type": "http.disconnect"}
            return message

        async def with_heads(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (k.encode(), v.encode())
                        for k, v in HEADERS.items()
                        if k.encode() not in own
                    ),
                ]
            await send(message)

        await self.app(scope, counted, with_heads)


async def _send_all(send: Send, status: int, heads: dict[str, str], body: bytes) -> None:
    pairs = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in heads.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
