"""What a user's function made, checked as if it came from outside: the log takes nothing that its readers refuse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from interlock.core import limits
from interlock.core.event import Draft
from interlock.spec.delay import undelayed
from interlock.spec.identity import checked_text
from interlock.spec.jsontext import PayloadError
from interlock.spec.plan import EventTypeSpec


def checked_drafts(maker: str, made: Iterable[Draft], types: Mapping[str, EventTypeSpec]) -> list[Draft]:
    """The drafts of one request or page; `maker` is the name of the webhook or poll.

    Raises:
        PayloadError: `draft.too-many`, `draft.foreign`, or what is wrong with an id, a key or a payload.
        UnicodeEncodeError: for text that has no UTF-8 form.
        Exception: whatever a generator of the user's raises.
    """
    drafts = list(islice(made, limits.BATCH_EVENTS_MAX + 1))
    if len(drafts) > limits.BATCH_EVENTS_MAX:
        raise PayloadError(
            "draft.too-many",
            f"{maker} made more than {limits.BATCH_EVENTS_MAX} drafts at once, and they are one commit",
            "Record the request as one event and translate it, or give smaller pages.",
        )
    for draft in drafts:
        _check(maker, draft, types)
    return drafts


def _check(maker: str, made: Draft, types: Mapping[str, EventTypeSpec]) -> None:
    draft = undelayed(made)
    type = types.get(draft.type)
    if type is None or type.stream != draft.stream:
        raise PayloadError(
            "draft.foreign",
            f"{maker} made a draft of {draft.type!r}: stream {draft.stream!r} has no such declared type",
            "Make drafts with the draft method of a declared event type.",
        )
    checked_text("id", draft.id, limits.ID_CHARS_MAX)
    if draft.key is not None:
        checked_text("key", draft.key, limits.KEY_CHARS_MAX)
    # Text without a UTF-8 form would fail in the store, where nobody could tell whose fault it is.
    texts = (draft.source, draft.subject or "", draft.time or "", draft.dataschema or "", draft.datacontenttype)
    "".join((*texts, *[part for pair in draft.extensions for part in pair])).encode()
    type.decode(draft.data)
