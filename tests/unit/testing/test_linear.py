"""Histories of racing operations: a good one has an order, a bad one has none, and a correct register's passes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.testing.sim.checker import check
from interlock.testing.sim.history import AnyLine, Tried


def asked(t: int, serial: int, what: Any, **more: Any) -> Tried:
    return Tried(t=t, kind="invoke", subject="x", serial=serial, what=what, **more)


def told(t: int, serial: int, what: Any, **more: Any) -> Tried:
    return Tried(t=t, kind="ok", subject="x", serial=serial, what=what, **more)


def unsure(t: int, serial: int, what: Any) -> Tried:
    return Tried(t=t, kind="info", subject="x", serial=serial, what=what)


def written(t: int, serial: int, value: str, expected: int = 0) -> list[AnyLine]:
    """A write that is over before anybody else asks for anything."""
    return [
        asked(t, serial, "write", value=value, expected=expected),
        told(t + 1, serial, "write", number=expected + 1),
    ]


def appended(t: int, serial: int, payload: str, offset: int, **more: Any) -> list[AnyLine]:
    return [asked(t, serial, "append", value=payload), told(t + 1, serial, "append", number=offset, **more)]


GOOD: dict[str, list[AnyLine]] = {
    "a write and its reading": [
        *written(1, 1, "a"), asked(3, 2, "read"), told(4, 2, "read", number=1, value="a"),
    ],
    "of two racing writes one, and the other is told of it": [
        asked(1, 1, "write", value="a"), asked(2, 2, "write", value="b"),
        told(3, 1, "write", number=1), told(4, 2, "write", refused=True, number=1, value="a"),
    ],
    "a write without an answer that is seen later": [
        asked(1, 1, "write", value="a"), unsure(2, 1, "write"), asked(3, 2, "read"), told(4, 2, "read"),
        asked(5, 3, "read"), told(6, 3, "read", number=1, value="a"),
    ],
    "a write without an answer that never happened": [
        asked(1, 1, "write", value="a"), asked(3, 2, "read"), told(4, 2, "read"),
    ],
    "an event that came twice": [*appended(1, 1, "a", 7), *appended(3, 2, "a", 7, known=True)],
    "an event that came again with another payload": [
        *appended(1, 1, "a", 7), *appended(3, 2, "b", 7, known=True, refused=True),
    ],
    "an event whose first answer was lost": [
        asked(1, 1, "append", value="a"), unsure(2, 1, "append"), *appended(3, 2, "a", 7, known=True),
        *appended(5, 3, "b", 7, known=True, refused=True),
    ],
}  # fmt: skip

BAD: dict[str, list[AnyLine]] = {
    "a reading of what was overwritten": [
        *written(1, 1, "a"), *written(3, 2, "b", 1), asked(5, 3, "read"), told(6, 3, "read", number=1, value="a"),
    ],
    "a reading of nothing behind a write": [*written(1, 1, "a"), asked(3, 2, "read"), told(4, 2, "read")],
    "a reading of what nobody wrote": [asked(1, 1, "read"), told(2, 1, "read", number=1, value="a")],
    "two writes at one version": [
        asked(1, 1, "write", value="a"), asked(2, 2, "write", value="b"),
        told(3, 1, "write", number=1), told(4, 2, "write", number=1),
    ],
    "a write that is refused for no reason": [
        asked(1, 1, "write", value="a"), told(2, 1, "write", refused=True),
    ],
    "a write that surely did not happen, and is read": [
        asked(1, 1, "write", value="a"), Tried(t=2, kind="fail", subject="x", serial=1, what="write"),
        asked(3, 2, "read"), told(4, 2, "read", number=1, value="a"),
    ],
    "two readings that go back": [
        asked(1, 1, "write", value="a"), asked(2, 2, "read"), told(3, 2, "read", number=1, value="a"),
        asked(4, 3, "read"), told(5, 3, "read"), told(6, 1, "write", number=1),
    ],
    "one identity at two offsets": [*appended(1, 1, "a", 7), *appended(3, 2, "a", 8, known=True)],
    "one identity that is new twice": [*appended(1, 1, "a", 7), *appended(3, 2, "a", 8)],
    "another payload that is taken for the same": [*appended(1, 1, "a", 7), *appended(3, 2, "b", 7, known=True)],
    "the same payload that is taken for another": [
        *appended(1, 1, "a", 7), *appended(3, 2, "a", 7, known=True, refused=True),
    ],
    "an identity that was known before anybody had it": [*appended(1, 1, "a", 7, known=True)],
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_what_some_order_explains_passes(name: str) -> None:
    assert check(GOOD[name], []) == []


@pytest.mark.parametrize("name", BAD)
def test_what_no_order_explains_is_refused(name: str) -> None:
    assert [violation.invariant for violation in check(BAD[name], [])] == ["I20"]


class Correct:
    """A cell and an identity that do one operation at a time, at some moment between its call and its return."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.version, self.value = 0, ""
        self.first: str | None = None

    def do(self, ask: Tried) -> dict[str, Any]:
        if ask.what == "append":
            known, self.first = self.first is not None, ask.value if self.first is None else self.first
            return {"number": 5, "known": known, "refused": self.first != ask.value}
        if ask.what == "read" or ask.expected != self.version:
            return {"number": self.version, "value": self.value, "refused": ask.what == "write"}
        self.version, self.value = self.version + 1, ask.value
        return {"number": self.version}


@settings(max_examples=200)
@given(st.integers(0, 1 << 32), st.sampled_from(["cell", "identity"]))
def test_whatever_a_correct_register_answers_passes(seed: int, kind: str) -> None:
    chance = random.Random(seed)
    correct, lines, under_way = Correct(chance), list[AnyLine](), list[tuple[Tried, bool]]()
    for t in range(1, 60):
        if under_way and (len(under_way) == 4 or chance.random() < 0.5):
            ask, lost = under_way.pop(chance.randrange(len(under_way)))
            # It happens here; what it is told comes a moment later, or never.
            happens = not lost or chance.random() < 0.5
            answer = correct.do(ask) if happens else {}
            if not lost:
                lines.append(told(t, ask.serial, ask.what, **answer))
        else:
            what = "append" if kind == "identity" else chance.choice(["read", "write"])
            ask = asked(t, t, what, value=chance.choice("ab"), expected=chance.choice((correct.version, 0)))
            lines.append(ask)
            under_way.append((ask, chance.random() < 0.2))
    assert check(lines, []) == []
