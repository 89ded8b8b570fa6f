"""A head means the same whether its lines were seen before or not, and whichever of the two ways it is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.wire.cases import REFUSED, TAKEN

from interlock.core.limits import HEAD_LINES_MAX
from interlock.wire.exchange import Framed, Refusal
from interlock.wire.head import HeadReader

BLOCKS = [case.request.partition(b"\r\n\r\n")[0] for case in (*REFUSED, *TAKEN) if len(case.request) < 1_000]
SPICES = [
    b"",
    b"\r",
    b"\n",
    b"\x00",
    b" ",
    b"\t",
    b":",
    b",",
    b"\r\n",
    b"\r\n ",
    b"\r\nHost: g",
    b"\r\nx:y",
    b"%",
    b"\xff",
]


def reader() -> HeadReader:
    return HeadReader(target_bytes_max=8_192, header_count_max=100, hosts=None)


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    block = draw(st.sampled_from(BLOCKS))
    at = draw(st.integers(0, len(block)))
    return block[:at] + draw(st.sampled_from(SPICES)) + block[draw(st.integers(at, min(at + 3, len(block)))) :]


@given(st.lists(blocks(), max_size=8), blocks())
def test_what_was_read_before_does_not_change_what_a_head_means(before: list[bytes], block: bytes):
    seasoned = reader()
    for other in (*before, block):
        seasoned.read(other, "peer")
    assert seasoned.read(block, "peer") == reader().read(block, "peer")


@given(blocks())
def test_a_field_sent_twice_changes_nothing_about_the_others(block: bytes):
    # What is sent twice is read line by line, and what is not mostly by lines that are known.
    plain, doubled = reader().read(block, "peer"), reader().read(block + b"\r\nx-twice: 1\r\nx-twice: 2", "peer")
    if isinstance(plain, Refusal):
        assert plain == doubled
        return
    assert isinstance(doubled, Framed)
    assert doubled.head.headers[:-2] == plain.head.headers
    assert replace(doubled, head=plain.head) == plain
    assert replace(doubled.head, headers=plain.head.headers, once=plain.head.once) == plain.head
    for name in {*dict(plain.head.headers), "host", "absent"}:
        assert doubled.head.every(name) == plain.head.every(name)
        assert doubled.head.header(name) == plain.head.header(name)
        assert doubled.head.only(name) == plain.head.only(name)


def test_a_flood_of_lines_is_forgotten_and_its_heads_are_read_all_the_same():
    flooded = reader()
    for number in range(2 * HEAD_LINES_MAX):
        framed = flooded.read(b"GET /%d HTTP/1.1\r\nhost: h\r\nx-id: %d" % (number, number), "peer")
        assert isinstance(framed, Framed)
        assert (framed.head.path, framed.head.only("x-id")) == (f"/{number}", str(number))
