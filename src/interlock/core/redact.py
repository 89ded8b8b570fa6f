"""What a request, an answer or an address may show to people: secrets go by the name they stand under.

Every expression here is bounded in what it looks at, because bodies come from outside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from interlock.core.limits import EXCERPT_BYTES_MAX

REDACTED: Final = "[redacted]"

# A secret that begins inside the excerpt and ends outside must be seen whole to be recognised.
_OVERLAP_BYTES: Final = 4 * 1024
_SECRET_NAME: Final = re.compile(
    r"authori[sz]ation|cookie|secret|token|passw|passphrase|signature|credential|api[-_]?key|private[-_]?key",
    re.IGNORECASE,
)
_SCHEME: Final = re.compile(r"\b(Bearer|Basic|Digest)\s+[^\s,;\"']+", re.IGNORECASE)
_MINTED: Final = re.compile(r"\b(?:whsec|whsk|ilt)_[A-Za-z0-9+/=_-]+")
_USERINFO: Final = re.compile(r"(://)[^/\s@?#\"']{1,512}@")
_JSON_MEMBER: Final = re.compile(
    r'"([^"\\]{1,64})"(\s{0,64}:\s{0,64})(?:"(?:[^"\\]|\\.)*"?|-?[0-9][0-9.eE+-]*)', re.DOTALL
)
_PARAMETER: Final = re.compile(r"(?<![\w.%\[\]-])([\w.%\[\]-]{1,64})=([^&\s\"'#]+)")

_SUSPECT: Final = re.compile(r"[=@\"\s]|(?:whsec|whsk|ilt)_")
"""What each expression above needs one of: most text (ids, names, codes) has none and is passed at once."""


def is_secret_name(name: str) -> bool:
    """Whether what stands under this name (of a header, a member, a parameter) is not for people to see."""
    return _SECRET_NAME.search(name) is not None


def redacted_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The same headers; values of secret ones are replaced, and secrets inside the others (URLs) too."""
    return [(name, REDACTED if is_secret_name(name) else redacted_text(value)) for name, value in headers]


def redacted_text(text: str) -> str:
    """`text` without the values of secret members and parameters, credentials, and the userinfo of URLs."""
    if _SUSPECT.search(text) is None:
        return text
    text = _JSON_MEMBER.sub(_member, text)
    text = _PARAMETER.sub(_parameter, text)
    text = _SCHEME.sub(rf"\1 {REDACTED}", text)
    text = _MINTED.sub(REDACTED, text)
    return _USERINFO.sub(rf"\1{REDACTED}@", text)


def excerpt(start_line: str, headers: Iterable[tuple[str, str]], body: bytes, hidden: Iterable[str] = ()) -> str:
    """A request or an answer as people may read it: redacted, and at most `EXCERPT_BYTES_MAX` bytes of UTF-8.

    `hidden` are secret values that must not appear wherever they stand, for example echoed by the other side.
    """
    head = "\r\n".join([redacted_text(start_line), *(f"{name}: {value}" for name, value in redacted_headers(headers))])
    shown = redacted_text(body[: EXCERPT_BYTES_MAX + _OVERLAP_BYTES].decode("utf-8", "replace"))
    text = f"{head}\r\n\r\n{shown}" if shown else head
    for secret in hidden:
        if secret:
            text = text.replace(secret, REDACTED)
    cut = text.encode("utf-8", "replace")
    return text if len(cut) <= EXCERPT_BYTES_MAX else cut[:EXCERPT_BYTES_MAX].decode("utf-8", "ignore")


def _member(match: re.Match[str]) -> str:
    if not is_secret_name(match[1]):
        return match[0]
    return f'"{match[1]}"{match[2]}"{REDACTED}"'


def _parameter(match: re.Match[str]) -> str:
    return f"{match[1]}={REDACTED}" if is_secret_name(match[1]) else match[0]
