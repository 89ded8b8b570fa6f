"""The bounds of a server, each with the status that a client gets for going beyond it."""

from __future__ import annotations

import msgspec

from interlock.core import limits as bounds


class ServerLimits(msgspec.Struct, frozen=True):
    """Bounds of a server. `body_bytes_max` is the ceiling of what `collect` may ask for; streamed bodies have none."""

    header_bytes_max: int = bounds.HEADER_BYTES_MAX
    header_count_max: int = bounds.HEADER_COUNT_MAX
    target_bytes_max: int = bounds.TARGET_BYTES_MAX
    body_bytes_max: int = bounds.BODY_BYTES_CEILING
    pipelined_bytes_max: int = bounds.PIPELINED_BYTES_MAX
    connections_max: int = bounds.CONNECTIONS_MAX
    head_timeout_us: int = bounds.HEAD_TIMEOUT_US
    body_timeout_us: int = bounds.BODY_TIMEOUT_US
    keepalive_timeout_us: int = bounds.KEEPALIVE_TIMEOUT_US
    write_timeout_us: int = bounds.WRITE_TIMEOUT_US
    linger_us: int = bounds.LINGER_US
