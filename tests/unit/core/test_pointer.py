"""JSON pointers: the examples of RFC 6901, what can be set, and how documents differ."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.pointer import MISSING, PointerError, changes, found_at, is_same, with_value

RFC: dict[str, Any] = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("a/~0", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a/~1", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", RFC),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
        ("/foo/2", MISSING),
        ("/foo/00", MISSING),
        ("/foo/-1", MISSING),
        ("/foo/-", MISSING),
        ("/foo/0/x", MISSING),
        ("/none", MISSING),
    ],
)
def test_a_pointer_finds_what_stands_there(pointer: str, value: object) -> None:
    assert found_at(RFC, pointer) == value


@pytest.mark.parametrize(
    ("pointer", "document", "made"),
    [
        ("", {"a": 1}, 9),
        ("/a", {"a": 1}, {"a": 9}),
        ("/b", {"a": 1}, {"a": 1, "b": 9}),
        ("/a/1", {"a": [1, 2]}, {"a": [1, 9]}),
        ("/a/2", {"a": [1, 2]}, {"a": [1, 2, 9]}),
        ("/a/-", {"a": [1, 2]}, {"a": [1, 2, 9]}),
    ],
)
def test_a_value_is_set_in_a_copy(pointer: str, document: Any, made: Any) -> None:
    before = msgspec.json.encode(document)
    assert with_value(document, pointer, 9) == made
    assert msgspec.json.encode(document) == before


@pytest.mark.parametrize("pointer", ["a", "/a/7", "/a/x", "/none/b", "/a/-/b", "/n/b"])
def test_what_leads_nowhere_is_refused(pointer: str) -> None:
    with pytest.raises(PointerError):
        with_value({"a": [1], "n": 1}, pointer, 9)


@given(JSON, JSON)
def test_changes_are_where_documents_differ_and_nowhere_else(before: Any, after: Any) -> None:
    found = list(changes(before, after))
    assert (not found) == (msgspec.json.encode(before, order="sorted") == msgspec.json.encode(after, order="sorted"))
    for change in found:
        assert is_same(found_at(before, change.pointer), change.before) or change.before is MISSING
        assert is_same(found_at(after, change.pointer), change.after) or change.after is MISSING


def test_true_is_not_one() -> None:
    assert [change.pointer for change in changes({"a": True, "b": 1}, {"a": 1, "b": 1})] == ["/a"]
