"""The bearer token of the first start: made once, kept in a file that only its owner can read.

Both ports ask for it; the CLI reads the same file. Issuing tokens to others is not here.
"""

from __future__ import annotations

import hmac
import os
import stat
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Final

from interlock.core.errors import InterlockError

TOKEN_PREFIX: Final = "ilt_"  # noqa: S105 (what a token begins with, so that scanners and our own log know one)
TOKEN_BYTES: Final = 32
_TOKEN_CHARS_MAX: Final = 512
_MODE: Final = 0o600


def first_token(path: Path, entropy: Callable[[int], bytes]) -> tuple[str, bool]:
    """The token in the file at `path`, and whether it was made by this call.

    Two processes that start at once end with the same token: the file appears whole, by a link that fails if it exists.

    Args:
        path: where it is kept; its folder is made (0700) if there is none.
        entropy: gives that many unpredictable bytes (the operating system's, never the Random port's).

    Raises:
        InterlockError: `token.exposed` if others can read the file, `token.unreadable` if it is not a token.
    """
    made = False
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = _create(path, TOKEN_PREFIX + urlsafe_b64encode(entropy(TOKEN_BYTES)).rstrip(b"=").decode())
    return read_token(path), made


def read_token(path: Path) -> str:
    """The token in the file at `path`.

    Raises:
        InterlockError: `token.missing`, `token.exposed`, `token.unreadable`.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InterlockError(
            "token.missing", f"there is no token at {path}", "start `interlock run` once; it makes one"
        ) from None
    except OSError as error:
        raise InterlockError(
            "token.unreadable",
            f"the token at {path} cannot be read: {error.strerror}",
            "make it a plain file of the user that runs Interlock",
        ) from None
    try:
        if stat.S_IMODE(os.fstat(file).st_mode) & 0o077:
            raise InterlockError(
                "token.exposed",
                f"others can read the token at {path}",
                f"delete it, start again, and keep its mode at {_MODE:o}",
            )
        text = os.read(file, _TOKEN_CHARS_MAX).strip()
    finally:
        os.close(file)
    if not text.isascii() or len(text) < 20 or any(byte <= 0x20 for byte in text):
        raise InterlockError(
            "token.unreadable", f"the file at {path} holds no token", "delete it; the next start makes another"
        )
    return text.decode()


def bearer_is(authorization: str | None, token: str) -> bool:
    """Whether an `Authorization` header's value carries `token` (RFC 6750 2.1). Its time tells nothing."""
    if authorization is None:
        return False
    scheme, _, given = authorization.partition(" ")
    presented = given.strip(" ").encode("utf-8", "replace")
    return hmac.compare_digest(presented, token.encode()) and scheme.lower() == "bearer"


def _create(path: Path, token: str) -> bool:
    """Whether the file was made here; False if another process was first."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        os.write(file, token.encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True
