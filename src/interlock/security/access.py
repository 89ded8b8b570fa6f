"""Who may call the data plane's own routes: a bearer of one of the active tokens (RFC 6750).

Webhooks are not its business: their signature says who calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hmac import compare_digest

from interlock.core.ports import Access
from interlock.security.tokens import bearer_is


def bearers(active: Callable[[], Sequence[str]]) -> Access:
    """Access for whoever sends one of the tokens that are active when the request comes; named `token[0]`, `token[1]`.

    Every active token is compared, so the time does not tell which one came close.
    """

    def access(authorization: Sequence[str]) -> str | None:
        if len(authorization) != 1:
            return None
        tokens = active()
        given = authorization[0].encode("utf-8", "replace")
        # Almost everybody spells the whole value alike; who does not is read as RFC 6750 reads it.
        matches = [index for index, token in enumerate(tokens) if compare_digest(given, b"Bearer " + token.encode())]
        if not matches:
            matches = [index for index, token in enumerate(tokens) if bearer_is(authorization[0], token)]
        return f"token[{matches[0]}]" if matches else None

    return access
