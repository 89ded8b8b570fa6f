"""W3C Trace Context, Level 1: continue the trace that brought an event, or begin one. Parsing is OpenTelemetry's."""

from __future__ import annotations

from typing import Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import format_span_id, format_trace_id, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from interlock.core.ports import Random

_CHARS_MAX: Final = 512
_SAMPLED: Final = 0x01
_propagator = TraceContextTextMapPropagator()


class Trace(NamedTuple):
    """One trace as it is continued: ids in lower-case hex. `parent` is "" where the trace begins here."""

    trace_id: str
    parent: str
    is_sampled: bool


def continued(traceparent: str, random: Random) -> Trace:
    """The trace that a `traceparent` field names; a new, sampled one if it is absent or not valid."""
    # The parser warns about longer ones in the log, and what is in it comes from outside.
    if traceparent and len(traceparent) <= _CHARS_MAX:
        context = _propagator.extract({"traceparent": traceparent}, Context())
        span = get_current_span(context).get_span_context()
        if span.is_valid:
            is_sampled = bool(span.trace_flags & _SAMPLED)
            return Trace(format_trace_id(span.trace_id), format_span_id(span.span_id), is_sampled)
    return Trace(_id(random, 16), "", is_sampled=True)


def child(trace: Trace, random: Random) -> str:
    """The `traceparent` of one call within the trace. Flags that Level 1 does not know are sent as 0."""
    return f"00-{trace.trace_id}-{_id(random, 8)}-{'01' if trace.is_sampled else '00'}"


def _id(random: Random, count: int) -> str:
    drawn = random.bytes(count)
    # All zeros is the one value that the standard forbids.
    return drawn.hex() if any(drawn) else f"{1:0{2 * count}x}"
