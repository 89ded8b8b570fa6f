"""`interlock send`: events by hand, through the same intake as everybody's."""

from __future__ import annotations

import sys
from base64 import b32encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from interlock.cli.answers import Sent, SentRow
from interlock.cli.client import Unreachable, decode
from interlock.cli.progress import progress
from interlock.cli.rate import Rate
from interlock.cli.session import Session
from interlock.cli.show import Answer, Format, hint, output_option, show_answer, show_json
from interlock.core import limits
from interlock.core.words import many
from interlock.runtime.ports import SystemRandom

_BATCH: Final = 500
"""Events of one request: one commit, and far below the bound of a body for payloads of usual size."""


@click.command("send")
@click.argument("type")
@click.argument("payload", required=False)
@click.option(
    "--file", type=click.Path(dir_okay=False, allow_dash=True), help="Take the payload from a file; - is stdin."
)
@click.option("--id", help="The event's id; the same one again is a duplicate. Default: a new one.")
@click.option("--source", default="/interlock/send", show_default=True, help="CloudEvents source.")
@click.option(
    "--count", type=click.IntRange(1, 100_000), default=1, show_default=True, help="So many, with ids of their own."
)
@click.option("--rate", type=Rate(), help="Spread --count over time: 20/s, 30/m, 100/h. Default: at once.")
@click.option("--dry-run", is_flag=True, help="Print the CloudEvent instead of sending it.")
@output_option
@click.pass_obj
def command(
    session: Session,
    type: str,
    payload: str | None,
    output: Format,
    **given: Any,  # Any: the options, each of a type of its own.
) -> None:
    """Send events of TYPE with PAYLOAD (JSON), as CloudEvents."""
    count: int = given["count"]
    rate: float | None = given["rate"]
    body = _payload(payload, given["file"])
    id: str = given["id"] or b32encode(SystemRandom().bytes(10)).decode().lower()
    source: str = given["source"]
    if given["dry_run"]:
        show_json(_event(type, id, source, body))
        return
    ids = [id] if count == 1 else [f"{id}-{number}" for number in range(1, count + 1)]
    accepted: list[str] = []
    is_known = True
    # With a rate, a request is what is due in a second.
    size = _BATCH if rate is None else max(1, min(_BATCH, int(rate)))
    with progress("sent", count, quiet=session.quiet) as advance:
        for first in range(0, count, size):
            if rate is not None and first:
                session.wait(round(size / rate * limits.US_PER_SECOND))
            part = _send(session, [_event(type, each, source, body) for each in ids[first : first + size]])
            accepted += part.ids
            is_known = is_known and part.duplicate
            advance(len(part.ids))
    sent = Sent(accepted, is_known)
    if not show_answer(output, Answer(sent, SentRow, [SentRow(each) for each in accepted], accepted)):
        click.echo(f"accepted {many(len(accepted), 'event')}" + (", all known already" if is_known else ""))
        hint(f"interlock events show {accepted[0]}", quiet=session.quiet)


def _payload(text: str | None, file: str | None) -> msgspec.Raw:
    if (text is None) == (file is None):
        raise click.UsageError("Give the payload either as an argument or with --file.")
    content = text.encode("utf-8", "replace") if text is not None else _content(file or "-")
    try:
        msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        raise click.UsageError(f"The payload is not JSON: {error}.") from None
    return msgspec.Raw(content)


def _content(file: str) -> bytes:
    limit = limits.EVENT_BYTES_MAX + 1
    if file == "-":
        return sys.stdin.buffer.read(limit)
    try:
        with Path(file).open("rb") as opened:
            return opened.read(limit)
    except OSError as error:
        raise click.FileError(file, error.strerror or "unreadable") from None


def _event(type: str, id: str, source: str, body: msgspec.Raw) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": type,
        "datacontenttype": "application/json",
        "data": body,
    }


def _send(session: Session, events: Sequence[dict[str, Any]]) -> Sent:
    one = len(events) == 1
    headers = {"content-type": f"application/cloudevents{'' if one else '-batch'}+json"}
    try:
        reply = session.data_client().send(
            "POST", "/events", headers, msgspec.json.encode(events[0] if one else events)
        )
    except Unreachable:
        session.unreachable()
    return decode(reply, Sent)
