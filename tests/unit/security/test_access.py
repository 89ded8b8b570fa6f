"""Bearer tokens: how they are read and compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.security.access import bearers

TOKENS = ["ilt_the-current-token", "ilt_the-former-token"]
access = bearers(lambda: TOKENS)


def test_the_bearer_of_an_active_token_is_named_by_its_place():
    assert access(["Bearer ilt_the-current-token"]) == "token[0]"
    assert access(["bearer ilt_the-former-token"]) == "token[1]"


@pytest.mark.parametrize(
    "authorization",
    [
        [],
        [""],
        ["Bearer"],
        ["Bearer "],
        ["Basic ilt_the-current-token"],
        ["ilt_the-current-token"],
        ["Bearer ilt_the-current-toke"],
        ["Bearer ilt_the-current-token", "Bearer ilt_the-current-token"],
        ["Bearer \xff\xfe"],
    ],
)
def test_anyone_else_has_no_access(authorization):
    assert access(authorization) is None


def test_nobody_has_access_where_no_token_is_active():
    assert bearers(list)(["Bearer "]) is None


@given(st.lists(st.text(alphabet=st.characters(max_codepoint=255)), max_size=3))
def test_no_field_makes_it_raise_or_let_in(authorization):
    assert access(authorization) is None
