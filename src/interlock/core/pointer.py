"""JSON pointers (RFC 6901): what stands at one, a document with another value there, and how two documents differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast


class _Missing:
    """See `MISSING`."""


MISSING: Final = _Missing()
"""Stands where a document has nothing."""


class PointerError(ValueError):
    """A text that is no pointer, or leads to a place that the document does not have."""


class Change(NamedTuple):
    """A place where two documents differ; `before` or `after` may be `MISSING`."""

    pointer: str
    before: Any  # Any: JSON.
    after: Any


def found_at(value: Any, pointer: str) -> Any:
    """What stands at a pointer; `MISSING` if the document has nothing there.

    Raises:
        PointerError: if it is no pointer.
    """
    for token in _tokens(pointer):
        if isinstance(value, Mapping):
            value = cast("Mapping[str, Any]", value).get(token, MISSING)
        elif isinstance(value, list) and (at := _index(token)) is not None and at < len(cast("list[Any]", value)):
            value = cast("list[Any]", value)[at]
        else:
            return MISSING
    return value


def with_value(document: Any, pointer: str, value: Any) -> Any:
    """A copy of the document with `value` at a pointer. Objects take new members, lists one more at their end (`-`).

    Raises:
        PointerError: if it is no pointer, or there is nothing that could hold the value.
    """
    return _with(document, _tokens(pointer), value, pointer)


def changes(before: Any, after: Any, at: str = "") -> Iterator[Change]:
    """Where two documents differ, in the order of the first one."""
    if isinstance(before, dict) and isinstance(after, dict):
        olds, news = cast("dict[str, Any]", before), cast("dict[str, Any]", after)
        for name in dict.fromkeys((*olds, *news)):
            yield from changes(olds.get(name, MISSING), news.get(name, MISSING), f"{at}/{_escaped(name)}")
    elif isinstance(before, list) and isinstance(after, list):
        old, new = cast("list[Any]", before), cast("list[Any]", after)
        for index in range(max(len(old), len(new))):
            yield from changes(_item(old, index), _item(new, index), f"{at}/{index}")
    elif _differs(before, after):
        yield Change(at, before, after)


def is_same(one: Any, other: Any) -> bool:
    """Whether two documents are equal."""
    return not any(changes(one, other))


def _differs(before: Any, after: Any) -> bool:
    # JSON tells true from 1, and Python does not.
    return before is not after and (isinstance(before, bool) != isinstance(after, bool) or before != after)


def _item(items: Sequence[Any], index: int) -> Any:
    return items[index] if index < len(items) else MISSING


def _with(value: Any, tokens: Sequence[str], new: Any, pointer: str) -> Any:
    if not tokens:
        return new
    token, rest = tokens[0], tokens[1:]
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        if rest and token not in members:
            raise PointerError(f"{pointer} leads through {token!r}, which is not there")
        return {**members, token: _with(members.get(token), rest, new, pointer)}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        at = len(items) if token.startswith("-") and len(token) == 1 else _index(token)
        if at is None or at > len(items) or (at == len(items) and rest):
            raise PointerError(f"{pointer} leads to item {token!r} of a list with {len(items)}")
        return [*items[:at], _with(items[at] if at < len(items) else None, rest, new, pointer), *items[at + 1 :]]
    raise PointerError(f"{pointer} leads into a value that is neither object nor list")


def _tokens(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise PointerError(f"{pointer!r} is no JSON pointer: one begins with /")
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _index(token: str) -> int | None:
    """The index that a token is; RFC 6901 has neither signs nor leading zeros."""
    return int(token) if token.isascii() and token.isdigit() and str(int(token)) == token else None
