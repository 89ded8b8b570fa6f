"""Where a port listens: its socket (the first free port from the one that is wanted), its TLS and its URL."""

from __future__ import annotations

import errno
import socket  # noqa: TID251  # binding is what this port implementation is for
import ssl
from pathlib import Path

from interlock.core.errors import InterlockError
from interlock.runtime.ports import LISTEN_BACKLOG
from interlock.runtime.settings import ListenSettings

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
            listening.listen(LISTEN_BACKLOG)
        except OSError as error:
            listening.close()
            if error.errno != errno.EADDRINUSE:
                raise _unavailable(host, candidate, error.strerror or str(error)) from None
        else:
            listening.setblocking(False)
            return listening
    raise _unavailable(host, port, f"busy, and so are the {PORTS_TRIED - 1} after it")


class Tls:
    """The certificate of one port: TLS 1.2 or later, HTTP/1.1 by ALPN.

    Raises:
        InterlockError: `tls.certificate-unusable`.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self.context = self._loaded()

    def check(self) -> None:
        """Whether the files, as they are now, could be served.

        Raises:
            InterlockError: `tls.certificate-unusable`.
        """
        self._loaded()

    def reload(self) -> None:
        """Serve the files, as they are now, on connections to come.

        Raises:
            InterlockError: `tls.certificate-unusable`; those from before go on being served.
        """
        self.check()
        self.context.load_cert_chain(self._certificate, self._key, _no_password)

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate, self._key, _no_password)
        except OSError as error:
            raise InterlockError(
                "tls.certificate-unusable",
                f"{self._certificate} with {self._key} cannot be served: {error.strerror or error}",
                "name a PEM certificate (with its chain) and its own key, without a password, readable by this process",
            ) from None
        return context


def tls_of(listen: ListenSettings, folder: Path) -> Tls | None:
    """The certificate that a port's settings name; None if it is served in the clear."""
    if listen.tls_certificate is None or listen.tls_key is None:
        return None
    return Tls(folder / listen.tls_certificate, folder / listen.tls_key)


def base_url(host: str, port: int, *, is_tls: bool) -> str:
    """The URL under which a port is reached."""
    return f"{'https' if is_tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _no_password() -> str:
    """Without this, OpenSSL would ask for it on the terminal and wait."""
    return ""


def _unavailable(host: str, port: int, why: str) -> InterlockError:
    return InterlockError(
        "port.unavailable",
        f"nothing can listen on {host} port {port}: {why}",
        "set another port under [data] or [control], or stop what uses it",
    )
