"""Where a port listens: over which TLS, and under which URL."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from tests.unit.runtime.certificates import self_made

from interlock.core.errors import InterlockError
from interlock.runtime.listen import PORTS_TRIED, Tls, base_url, bound, tls_of
from interlock.runtime.settings import DataSettings


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    self_made(tmp_path, "first")
    found = tls_of(DataSettings(tls_certificate="cert.pem", tls_key="key.pem"), tmp_path)
    assert found is not None
    return found


def shaken(tls: Tls, *, most: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED) -> tuple[str, str, bytes]:
    """A handshake with a client in memory: version, ALPN and the certificate."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.maximum_version = most
    client.set_alpn_protocols(["h2", "http/1.1"])
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = tls.context.wrap_bio(up, down, server_side=True)
    theirs = client.wrap_bio(down, up)
    for _ in range(4):
        for side in (theirs, ours):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    certificate = theirs.getpeercert(binary_form=True)
    assert certificate is not None
    return theirs.version() or "", theirs.selected_alpn_protocol() or "", certificate


def test_tls_speaks_http_1_1_and_nothing_before_1_2(tls: Tls) -> None:
    assert shaken(tls)[:2] == ("TLSv1.3", "http/1.1")
    assert shaken(tls, most=ssl.TLSVersion.TLSv1_2)[:2] == ("TLSv1.2", "http/1.1")
    assert tls.context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_renewed_certificate_is_served_after_a_reload(tls: Tls, tmp_path: Path) -> None:
    before = shaken(tls)[2]
    self_made(tmp_path, "second")
    assert shaken(tls)[2] == before
    tls.reload()
    assert shaken(tls)[2] != before


@pytest.mark.parametrize("spoilt", ["nothing", "another key", "a password"])
def test_a_certificate_that_cannot_be_served_is_refused_and_the_old_one_stays(
    tls: Tls, tmp_path: Path, spoilt: str
) -> None:
    before = shaken(tls)[2]
    if spoilt == "nothing":
        (tmp_path / "cert.pem").unlink()
    elif spoilt == "another key":
        kept = (tmp_path / "cert.pem").read_bytes()
        self_made(tmp_path, "other")
        (tmp_path / "cert.pem").write_bytes(kept)
    else:
        self_made(tmp_path, "locked", password=b"secret")
    with pytest.raises(InterlockError) as refused:
        tls.reload()
    assert refused.value.code == "tls.certificate-unusable"
    assert shaken(tls)[2] == before


def test_a_port_without_a_certificate_is_served_in_the_clear(tmp_path: Path) -> None:
    assert tls_of(DataSettings(), tmp_path) is None


def test_urls_have_their_scheme_and_brackets() -> None:
    assert base_url("127.0.0.1", 8080, is_tls=False) == "http://127.0.0.1:8080"
    assert base_url("::1", 8443, is_tls=True) == "https://[::1]:8443"


def test_a_busy_port_moves_to_the_next_free_one() -> None:
    with bound("127.0.0.1", 0) as first, bound("127.0.0.1", first.getsockname()[1]) as second:
        port = first.getsockname()[1]
        assert port < second.getsockname()[1] < port + PORTS_TRIED
