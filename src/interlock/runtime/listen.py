"""Sockets that listen: the first free port from the one that is wanted, said rather than failed (DESIGN 0)."""

from __future__ import annotations

import errno
import socket  # noqa: TID251  # binding is what this port implementation is for

from interlock.core.errors import InterlockError

PORTS_TRIED = 20


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens on `port`, or on one of the next `PORTS_TRIED` if it is busy; 0 takes any.

    Raises:
        InterlockError: `port.unavailable`, if none of them can be had.
    """
    for candidate in range(port, port + (PORTS_TRIED if port else 1)):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, candidate))
            listening.listen(1024)
        except OSError as error:
            listening.close()
            if error.errno != errno.EADDRINUSE:
                raise _unavailable(host, candidate, error.strerror or str(error)) from None
        else:
            listening.setblocking(False)
            return listening
    raise _unavailable(host, port, f"busy, and so are the {PORTS_TRIED - 1} after it")


def _unavailable(host: str, port: int, why: str) -> InterlockError:
    return InterlockError(
        "port.unavailable",
        f"nothing can listen on {host} port {port}: {why}",
        "set another port under [data] or [control], or stop what uses it",
    )
