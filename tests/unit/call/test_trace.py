"""Traces: continued where valid, begun where not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.call.trace import child, continued

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Chance:
    """The Random port with the same bytes each time."""

    def __init__(self, byte: int = 0xAB) -> None:
        self.byte = byte

    def uniform(self, low: float, high: float) -> float:
        return low

    def bytes(self, count: int) -> bytes:
        return bytes([self.byte]) * count


@pytest.mark.parametrize(
    ("traceparent", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),
    ],
)
def test_a_valid_trace_is_continued(traceparent: str, sampled: bool):
    trace = continued(traceparent, Chance())
    assert trace == (TRACE, SPAN, sampled)
    assert child(trace, Chance()) == f"00-{TRACE}-abababababababab-{'01' if sampled else '00'}"


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-extra",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0١",
        f"cc-{TRACE}-{SPAN}-01-" + "x" * 600,
    ],
)
def test_what_is_not_valid_begins_a_new_sampled_trace(traceparent: str):
    assert continued(traceparent, Chance()) == ("ab" * 16, "", True)


def test_ids_are_never_all_zeros():
    trace = continued("", Chance(0))
    assert child(trace, Chance(0)) == f"00-{'0' * 31}1-{'0' * 15}1-01"


@given(st.text())
def test_whatever_comes_in_what_goes_out_is_valid(traceparent: str):
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", child(continued(traceparent, Chance()), Chance()))
