"""The token of the first start: made once, private, and refused where it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from interlock.core.errors import InterlockError
from interlock.security.tokens import bearer_is, first_token, read_token


def entropy(fill: int):
    return lambda count: bytes([fill]) * count


def code_of(path: Path) -> str:
    with pytest.raises(InterlockError) as refused:
        read_token(path)
    return refused.value.code


def test_the_token_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "token"
    token, made = first_token(path, entropy(1))
    assert made
    assert token.startswith("ilt_")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    assert first_token(path, entropy(2)) == (token, False)
    assert [entry.name for entry in path.parent.iterdir()] == ["token"]


def test_a_wide_umask_does_not_expose_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        first_token(tmp_path / "token", entropy(1))
    finally:
        os.umask(before)
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    first_token(path, entropy(1))
    path.chmod(0o640)
    assert code_of(path) == "token.exposed"


@pytest.mark.parametrize("content", [b"", b"short", b"ilt_with a blank in the middle", b"\xff" * 40])
def test_a_file_that_is_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_bytes(content)
    assert code_of(path) == "token.unreadable"


def test_a_missing_token_says_how_to_get_one_and_a_link_is_not_followed(tmp_path: Path) -> None:
    assert code_of(tmp_path / "token") == "token.missing"
    first_token(tmp_path / "real", entropy(1))
    (tmp_path / "token").symlink_to(tmp_path / "real")
    assert code_of(tmp_path / "token") == "token.unreadable"


@pytest.mark.parametrize(
    ("header", "fits"),
    [
        ("Bearer ilt_abc", True),
        ("bearer  ilt_abc", True),
        ("Basic ilt_abc", False),
        ("Bearer ilt_abcd", False),
        ("Bearer", False),
        ("Bearer \ud800é", False),
        ("ilt_abc", False),
        (None, False),
    ],
)
def test_only_the_exact_token_in_a_bearer_header_is_let_in(header: str | None, fits: bool) -> None:
    assert bearer_is(header, "ilt_abc") is fits
