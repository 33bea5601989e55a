"""A socket to listen on, for what serves pages or answers."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from striate.core.errors import StriateError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Addresses that only this machine reaches."""


def check_port(port: int) -> None:
    """Raises StriateError for a port that there is not."""
    if not 0 <= port < 2**16:
        raise StriateError(f"there is no port {port}", "Ports are numbers from 0 to 65535.")


def listen(host: str, ports: Sequence[int], hint: str, backlog: int = 128) -> socket.socket:
    """A socket on the first of these ports that is free; 0 is any that is. hint: what to do where
    none is. Raises StriateError."""
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in ports:
        found = socket.socket(kind, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, number))
        except OSError as error:
            found.close()
            if isinstance(error, socket.gaierror):
                raise StriateError(
                    f"no address is known for the host '{host}'",
                    "--host takes an address of this machine, such as 127.0.0.1 or 0.0.0.0.",
                ) from None
            if number == ports[-1]:
                raise StriateError(
                    f"port {number} of {host} cannot be used: {error.strerror}", hint
                ) from None
            continue
        found.listen(backlog)
        return found
    raise AssertionError("one of the ports is the last")
