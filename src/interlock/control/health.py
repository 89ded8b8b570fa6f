"""Whether the process lives, whether it is ready, and whether the books balance (`doctor`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from interlock.control import audit, shapes
from interlock.control.ports import Live
from interlock.control.queries import Reading, cursor_row
from interlock.core.event import Shard
from interlock.core.limits import RETENTION_ALERT_PERCENT
from interlock.core.words import many
from interlock.journal.ports import Retired
from interlock.journal.views import Conservation, CursorLine

_PAGE: Final = 500


def readiness(live: Live) -> tuple[bool, Mapping[str, bool]]:
    """Whether this process can do its work now, and each part's share in that. Reasons are for `doctor` only."""
    parts = {name: state == "ok" for name, state in live.parts().items()}
    return all(parts.values()), parts


async def doctor(reading: Reading, _: shapes.Nothing) -> shapes.Doctor:
    """Every check, in full: the conservation equation of every cursor, the audit's chain, the process, the plan."""
    lines = await reading.views.cursors()
    checks = [
        await _conservation(reading, lines),
        await _audit_chain(reading),
        _planned(reading, lines),
        _waiting(lines),
        await _bodies(reading),
        await _retention(reading),
    ]
    if reading.live is not None:
        checks += _disk(reading.live)
        checks += [
            shapes.Check(f"process.{name}", state == "ok", state, "" if state == "ok" else "see the log of the process")
            for name, state in reading.live.parts().items()
            if name != "disk"
        ]
    rows = [cursor_row(line, reading.journal) for line in lines]
    return shapes.Doctor(all(check.ok for check in checks), checks, rows)


async def _conservation(reading: Reading, lines: Sequence[CursorLine]) -> shapes.Check:
    """Counted anew from rows and marks, not from the counters alone."""
    counted = [await reading.views.conservation(line.cursor.id) for line in lines]
    wrong = [found for found in counted if found is not None and not found.holds]
    if not wrong:
        accounted = sum(found.accounted for found in counted if found is not None)
        return shapes.Check(
            "conservation", True, f"{many(accounted, 'accounted event')} balance in {many(len(counted), 'cursor')}"
        )
    return shapes.Check(
        "conservation",
        False,
        f"{many(len(wrong), 'cursor')} out of balance; {_told(wrong[0])}",
        "stop the process, keep a copy of the store, and report it: this is a bug of Interlock",
    )


def _told(wrong: Conservation) -> str:
    id = wrong.cursor
    sides = f"{wrong.accounted} = {wrong.settled} + {wrong.stragglers} + {wrong.behind}"
    return f"{id.subscription} on {id.shard.stream}/{id.shard.number}: {'; '.join([sides, *wrong.problems[:3]])}"


def _planned(reading: Reading, lines: Sequence[CursorLine]) -> shapes.Check:
    if reading.plan is None:
        return shapes.Check("plan", True, "no plan is loaded, so nothing was compared with it")
    planned = len(reading.plan.subscriptions)
    strangers = sorted({line.cursor.id.subscription for line in lines} - reading.plan.readers)
    if not strangers:
        return shapes.Check("plan", True, f"the plan knows every subscription of the store ({planned})")
    return shapes.Check(
        "plan",
        False,
        f"the store knows {', '.join(strangers)}, the plan does not",
        f"`interlock subscriptions rename {strangers[0]} NEW` or `interlock subscriptions retire {strangers[0]}`",
    )


def _waiting(lines: Sequence[CursorLine]) -> shapes.Check:
    """Keys that wait for a person are no fault of the engine, but nobody else will free them."""
    held = sum(line.rows.get("held", 0) for line in lines)
    dead = sum(line.rows.get("dead", 0) for line in lines)
    behind = sum(line.behind for line in lines)
    says = f"{many(dead, 'dead letter')}, {many(held, 'held event')}, {behind:,} waiting behind blocked keys"
    return shapes.Check("stragglers", True, says, "see `interlock dead ls`" if held or dead else "")


async def _bodies(reading: Reading) -> shapes.Check:
    """Large payloads: whether their files are there. What is in them is compared when they are read."""
    found = await reading.views.bodies()
    says = f"{many(found.files, 'payload')} above 64 KiB in files, {_size(found.bytes)}"
    if not found.lost:
        return shapes.Check("bodies", True, says)
    return shapes.Check(
        "bodies",
        False,
        f"{says}; {many(found.lost, 'file')} missing or of another size: {', '.join(found.events)}",
        "restore a backup beside this store and copy the files from its folder; then `interlock dead retry`",
    )


async def _retention(reading: Reading) -> shapes.Check:
    """How large the streams are, and who keeps one at its bound from becoming smaller."""
    bounds = {stream.name: stream.keep_bytes for stream in reading.plan.streams} if reading.plan else {}
    says: list[str] = []
    full: list[str] = []
    for line in await reading.views.streams():
        bound = bounds.get(line.made.name)
        text = f"{line.made.name} {_size(line.bytes)}" + (f" of {_size(bound)}" if bound else "")
        if line.full or (bound and line.bytes * 100 > bound * RETENTION_ALERT_PERCENT):
            text += f", held by {', '.join(line.held_by)}" if line.held_by else ""
        if line.full:
            full += line.held_by
            text += ": intake is refused (507)"
        says.append(text)
    remedy = f"`interlock subscriptions show {full[0]}` says why it lags" if full else ""
    return shapes.Check("retention", not full, "; ".join(says) or "there are no streams", remedy)


def _disk(live: Live) -> list[shapes.Check]:
    found = live.disk()
    if found is None:
        return []
    room, level = found
    says = f"{_size(room.free_bytes)} of {_size(room.total_bytes)} are free"
    if level == "full":
        says += ": intake is refused (507), delivery goes on"
    remedy = "" if level == "ok" else "free space on the disk of the store; it goes on by itself"
    return [shapes.Check("disk", level != "full", says, remedy)]


def _size(count: int) -> str:
    for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1024:.0f} KiB"


async def _audit_chain(reading: Reading) -> shapes.Check:
    if reading.journal.stream(audit.STREAM) is None:
        return shapes.Check("audit", True, "there has been no command")
    shard = Shard(audit.STREAM, 0)
    oldest, newest = reading.journal.bounds(shard)
    after, chain = oldest - 1, audit.Chain(whole=oldest == 1)
    while after < newest:
        try:
            batch = await reading.journal.read(shard, after, _PAGE)
        except Retired:
            return shapes.Check("audit", True, "the audit's oldest segment was retired meanwhile", "ask again")
        for event in batch.events:
            if not chain.holds((await reading.journal.whole(event)).draft.data):
                remedy = "compare the store with its backups: somebody or something changed it behind Interlock's back"
                return shapes.Check("audit", False, f"the chain breaks at {event.id}", remedy)
        after = batch.upto
    return shapes.Check("audit", True, f"the chain of {many(newest - oldest + 1, 'command')} holds")
