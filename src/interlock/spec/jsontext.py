"""JSON from outside, read strictly: whatever the bytes are, the answer is a value or a `PayloadError`.

Refused: NaN and Infinity, numbers out of range, text that is not UTF-8 (also in members that nobody reads), lone
surrogates, nesting beyond `limits.JSON_DEPTH_MAX`. A member given twice counts as given last (RFC 8259 section 4).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import accumulate
from typing import Any, Final, TypeVar

import msgspec

from interlock.core import limits
from interlock.core.errors import RequestError

T = TypeVar("T")

_NEITHER: Final = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_AT: Final = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>.*)`)?$", re.DOTALL)
_QUOTES_INPUT: Final = re.compile(r"^(Invalid (?:enum )?value) .*$", re.DOTALL)


class PayloadError(RequestError, ValueError):
    """A payload that is malformed or does not fit its model. `path` is where (`$.lines[2].sku`), `$` for the whole."""

    def __init__(self, code: str, message: str, remedy: str, *, path: str = "$") -> None:
        super().__init__(code, message, remedy, fields={"path": path})
        self.path = path


def decode(data: bytes) -> Any:  # Any: JSON from outside, before it has a model.
    """The value of a JSON document.

    Raises:
        PayloadError: `json.malformed` or `json.too-deep`.
    """
    return strictly(msgspec.json.decode, data)


def strictly(read: Callable[[bytes], T], data: bytes) -> T:
    """What `read` (a msgspec decoder) makes of the document.

    Raises:
        PayloadError: `json.malformed`, `json.too-deep`, or `payload.invalid` with the path and what was expected there.
    """
    try:
        # A decoder with a model skips the members that it does not know without looking at their bytes.
        if not data.isascii():
            data.decode()
        value = read(data)
    except RecursionError:
        raise _too_deep() from None
    except msgspec.ValidationError as error:
        raise misfit(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise PayloadError(
            "json.malformed", f"The body is not JSON: {why}", "Send one RFC 8259 document, in UTF-8."
        ) from None
    if depth(data) > limits.JSON_DEPTH_MAX:
        raise _too_deep()
    return value


def depth(data: bytes) -> int:
    """How deep a well-formed document is nested; exact above `limits.JSON_DEPTH_MAX`, else an upper bound within it."""
    opened = data.count(b"[") + data.count(b"{")
    if opened <= limits.JSON_DEPTH_MAX:
        return opened
    # An escaped quote does not end a string; what is left between two quotes is text, whatever brackets it holds.
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    steps = b"".join(data.translate(_STEPS, _NEITHER).split(b'"')[::2])
    return max(accumulate(memoryview(steps).cast("b")), default=0)


def misfit(told: str) -> PayloadError:
    """A validation message of msgspec's as an error with its path. Values from the input are left out of it."""
    match = _AT.match(told)
    what, path = (match["what"], match["path"] or "$") if match else (told, "$")
    what = _QUOTES_INPUT.sub(r"\1", what).replace("`", "")
    return PayloadError(
        "payload.invalid", f"At {path}: {what}", "Send what the model of this type asks for.", path=path
    )


def _too_deep() -> PayloadError:
    bound = limits.JSON_DEPTH_MAX
    return PayloadError(
        "json.too-deep", f"The document is nested deeper than {bound} levels", "Send a flatter document."
    )
