"""The table of the admin API: every operation, what it takes and what does it. It knows no web framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec

from interlock.control import (
    acts,
    blocked,
    dead,
    dead_shapes,
    edit,
    erase,
    erase_shapes,
    health,
    jobs,
    letter,
    queries,
    rehearse,
    replay,
    shapes,
    transfer,
)
from interlock.control.audit import Who
from interlock.control.commands import Applied, Commands
from interlock.control.endpoint import Caller, Endpoint
from interlock.control.ports import Rehearses, ReloadRefused, Reloads
from interlock.control.problem import Refused
from interlock.control.queries import Reading
from interlock.control.tail import Recent, tail
from interlock.core import limits
from interlock.core.ports import Clock
from interlock.core.requests import Verb
from interlock.journal.ports import Ledger
from interlock.spec.findings import Known
from interlock.spec.problem import Fault

ROOT: Final = "/api/v1"
_ACTOR_CHARS_MAX: Final = 64
T = TypeVar("T", bound=msgspec.Struct)


class Admin(NamedTuple):
    """What the operations work on.

    `commands`, `reload` and `rehearse` are None where only reading is possible: no process runs.
    """

    reading: Reading
    commands: Commands | None
    recent: Recent
    clock: Clock
    reload: Reloads | None
    ledger: Ledger | None = None
    rehearse: Rehearses | None = None


def _reads(query: Callable[[Reading, T], Awaitable[object]]) -> Callable[[Admin, Caller, T], Awaitable[object]]:
    """A handler that only asks the store and the process."""

    async def handler(admin: Admin, _: Caller, taken: T) -> object:
        return await query(admin.reading, taken)

    return handler


async def _tail(admin: Admin, _: Caller, taken: shapes.TailAsked) -> shapes.Tail:
    return await tail(admin.reading, admin.recent, admin.clock, taken)


async def _dead(verb: Verb, admin: Admin, caller: Caller, taken: shapes.DeadCommand) -> shapes.DeadAnswer:
    return await dead.command(admin.reading, _commands(admin), verb, _who(caller, taken), taken)


async def _replay(admin: Admin, caller: Caller, taken: shapes.ReplayCommand) -> shapes.ReplayAnswer:
    return await replay.command(admin.reading, _commands(admin), _who(caller, taken), taken)


async def _erase(admin: Admin, caller: Caller, taken: erase_shapes.EraseCommand) -> erase_shapes.EraseAnswer:
    return await erase.command(admin.reading, _commands(admin), _who(caller, taken), taken)


async def _pause_system(
    paused: bool, admin: Admin, caller: Caller, taken: shapes.ControlCommand
) -> shapes.ControlAnswer:
    plan = admin.reading.plan
    if plan is None or taken.name not in plan.systems:
        raise queries.unknown("system.unknown", taken.name, list(plan.systems) if plan else [])
    if taken.dry_run:
        return shapes.ControlAnswer(taken.name, paused, 0, 1)
    done = await _commands(admin).pause_system(taken.name, _who(caller, taken), paused=paused)
    return _answer(taken.name, done)


async def _pause_subscription(
    paused: bool, admin: Admin, caller: Caller, taken: shapes.ControlCommand
) -> shapes.ControlAnswer:
    plan = admin.reading.plan
    if plan is None or taken.name not in plan.subscriptions:
        raise queries.unknown("subscription.unknown", taken.name, list(plan.subscriptions) if plan else [])
    if taken.dry_run:
        return shapes.ControlAnswer(taken.name, paused, 0, 1)
    done = await _commands(admin).pause_subscription(taken.name, _who(caller, taken), paused=paused)
    return _answer(taken.name, done)


async def _pause_schedule(
    paused: bool, admin: Admin, caller: Caller, taken: shapes.ControlCommand
) -> shapes.ControlAnswer:
    names = [spec.name for spec in admin.reading.plan.schedules] if admin.reading.plan else []
    if taken.name not in names:
        raise queries.unknown("schedule.unknown", taken.name, names)
    if taken.dry_run:
        return shapes.ControlAnswer(taken.name, paused, 0, 1)
    done = await _commands(admin).pause_schedule(taken.name, _who(caller, taken), paused=paused)
    return _answer(taken.name, done)


async def _reload(admin: Admin, caller: Caller, taken: shapes.ReloadCommand) -> shapes.ReloadAnswer:
    commands, who = _commands(admin), _who(caller, taken)
    if admin.reload is None:
        raise _read_only()
    done = await admin.reload(dry_run=taken.dry_run)
    if isinstance(done, ReloadRefused):
        raise Refused(
            409,
            "config.refused",
            f"the settings are wrong in {len(done.findings)} places, so nothing has changed",
            "mend what is listed; `interlock check` shows each with its line",
            errors=[Fault(finding) for finding in done.findings],
        )
    answer = shapes.ReloadAnswer(*done)
    if not taken.dry_run:
        await commands.record("config.reload", "config", who, None, answer)
    return answer


def _answer(name: str, done: Applied) -> shapes.ControlAnswer:
    return shapes.ControlAnswer(name, done.control.paused, done.applied, done.of)


async def _job(admin: Admin, _: Caller, taken: dead_shapes.JobAsked) -> dead_shapes.JobAnswer:
    return await jobs.job(admin.reading, admin.clock, taken)


async def _steer(paused: bool, admin: Admin, caller: Caller, taken: dead_shapes.JobCommand) -> dead_shapes.JobAnswer:
    return await jobs.steer(admin.reading, _commands(admin), _who(caller, taken), taken, paused=paused)


async def _rehearse(admin: Admin, _: Caller, taken: shapes.DeadCommand) -> dead_shapes.DeadRehearsal:
    if admin.rehearse is None or admin.ledger is None:
        raise _read_only()
    return await rehearse.rehearse(admin.reading, admin.ledger, admin.rehearse, admin.clock, taken)


async def _edit(admin: Admin, caller: Caller, taken: dead_shapes.DeadEdit) -> dead_shapes.DeadEdited:
    return await edit.edit(admin.reading, _commands(admin), _who(caller, taken), taken)


async def _diff(admin: Admin, _: Caller, taken: dead_shapes.LetterAsked) -> dead_shapes.DeadDiff:
    return await edit.diff(admin.reading, admin.rehearse, taken)


async def _import(admin: Admin, caller: Caller, taken: dead_shapes.DeadImport) -> dead_shapes.DeadImported:
    return await transfer.take_in(admin.reading, _commands(admin), _who(caller, taken), taken)


def _commands(admin: Admin) -> Commands:
    if admin.commands is None:
        raise _read_only()
    return admin.commands


def _read_only() -> Refused:
    return Refused(503, "control.read-only", "no process runs that could carry this out", "start `interlock run`")


class _Claimed(Protocol):
    """A command: who gives it, as they say, and why."""

    @property
    def actor(self) -> str: ...
    @property
    def reason(self) -> str: ...


def _who(caller: Caller, taken: _Claimed) -> Who:
    """The token proves the caller; the name that it gives for itself stands beside it, as what it is: a claim."""
    if len(taken.reason) > shapes.REASON_CHARS_MAX or len(taken.actor) > _ACTOR_CHARS_MAX:
        raise Refused(400, "request.invalid", "the reason or the actor is too long", "say it in fewer words")
    return Who(f"{caller} ({taken.actor})" if taken.actor else caller, taken.reason)


def _get(
    path: str,
    name: str,
    summary: str,
    takes: type[T],
    gives: type,
    query: Callable[[Reading, T], Awaitable[object]],
) -> Endpoint[Admin]:
    tag = path.split("/")[1]
    return Endpoint("GET", ROOT + path, name, summary, takes, gives, _reads(query), tag, offline=True)


def _dead_post(verb: Verb, summary: str) -> Endpoint[Admin]:
    return Endpoint(
        "POST",
        f"{ROOT}/dead/{verb}",
        f"dead_{verb}",
        summary,
        shapes.DeadCommand,
        shapes.DeadAnswer,
        partial(_dead, verb),
        "dead",
    )


def _control_post(noun: str, verb: str, summary: str, handler: Callable[..., Awaitable[object]]) -> Endpoint[Admin]:
    return Endpoint(
        "POST",
        f"{ROOT}/{noun}/{{name}}/{verb}",
        f"{noun}_{verb}",
        summary,
        shapes.ControlCommand,
        shapes.ControlAnswer,
        handler,
        noun,
    )


def _job_post(verb: str, summary: str, handler: Callable[..., Awaitable[object]]) -> Endpoint[Admin]:
    return Endpoint(
        "POST",
        f"{ROOT}/dead/jobs/{{job}}/{verb}",
        f"dead_job_{verb}",
        summary,
        dead_shapes.JobCommand,
        dead_shapes.JobAnswer,
        handler,
        "dead",
    )


EVENTS: Final = _get("/events", "events_list", "List events.", shapes.EventsAsked, shapes.Events, queries.events)
EVENT: Final = _get(
    "/events/{id}",
    "events_show",
    "Show an event with its timeline.",
    shapes.EventAsked,
    shapes.EventDetail,
    acts.event_with_acts,
)
DEAD: Final = _get(
    "/dead", "dead_list", "List causes of dead letters.", shapes.DeadAsked, shapes.DeadGroups, dead.causes
)
DEAD_SHOW: Final = _get(
    "/dead/{fingerprint}",
    "dead_show",
    "Show the dead letters of one cause.",
    shapes.DeadShow,
    shapes.DeadLetters,
    letter.letters,
)
DEAD_LETTERS: Final = _get(
    "/dead/letters", "dead_letters", "List dead letters.", shapes.DeadShow, shapes.DeadLetters, letter.letters
)
DEAD_LETTER: Final = _get(
    "/dead/letters/{event}",
    "dead_letter",
    "Show the dead letters of one event, with all that is known of them.",
    dead_shapes.LetterAsked,
    shapes.DeadLetters,
    letter.letter,
)
DEAD_DIFF: Final[Endpoint[Admin]] = Endpoint(
    "GET",
    ROOT + "/dead/letters/{event}/diff",
    "dead_diff",
    "Compare the payload of a letter with the edited one, or with what today's code reads in it.",
    dead_shapes.LetterAsked,
    dead_shapes.DeadDiff,
    _diff,
    "dead",
    offline=True,
)
DEAD_BLOCKED: Final = _get(
    "/dead/blocked",
    "dead_blocked",
    "List keys whose head is not delivered, so that later events wait.",
    dead_shapes.BlockedAsked,
    dead_shapes.Blocked,
    blocked.blocked,
)
DEAD_EXPORT: Final = _get(
    "/dead/export",
    "dead_export",
    "Give dead letters as lines of a file, a page at a time.",
    shapes.DeadPage,
    dead_shapes.DeadExport,
    transfer.export,
)
DEAD_IMPORT: Final[Endpoint[Admin]] = Endpoint(
    "POST",
    ROOT + "/dead/import",
    "dead_import",
    "Append the events of such a file, all or none.",
    dead_shapes.DeadImport,
    dead_shapes.DeadImported,
    _import,
    "dead",
    body_bytes_max=2 * transfer.IMPORT_BYTES_MAX,
)
DEAD_EDIT: Final[Endpoint[Admin]] = Endpoint(
    "POST",
    ROOT + "/dead/edit",
    "dead_edit",
    "Append an event with another payload instead of a dead letter.",
    dead_shapes.DeadEdit,
    dead_shapes.DeadEdited,
    _edit,
    "dead",
    body_bytes_max=2 * limits.EVENT_BYTES_MAX,
)
DEAD_REHEARSE: Final[Endpoint[Admin]] = Endpoint(
    "POST",
    ROOT + "/dead/rehearse",
    "dead_rehearse",
    "Run today's code on dead letters with a recorder for every System: nothing is sent or settled.",
    shapes.DeadCommand,
    dead_shapes.DeadRehearsal,
    _rehearse,
    "dead",
)
DEAD_VERBS: Final[Mapping[Verb, Endpoint[Admin]]] = {
    "retry": _dead_post("retry", "Start a new budget for dead, held or (by event) due ones."),
    "skip": _dead_post("skip", "Make held or (by event) due ones dead, so that their keys go on."),
    "discard": _dead_post("discard", "Settle dead or held ones without delivery; restore takes it back."),
    "restore": _dead_post("restore", "Take discarded ones back as dead letters."),
}
REPLAY: Final[Endpoint[Admin]] = Endpoint(
    "POST",
    ROOT + "/replay",
    "replay",
    "Deliver settled events again, from the log.",
    shapes.ReplayCommand,
    shapes.ReplayAnswer,
    _replay,
    "events",
)
ERASE: Final[Endpoint[Admin]] = Endpoint(
    "POST",
    ROOT + "/events/erase",
    "events_erase",
    "Erase what events of a key, or one event, say; their places stay.",
    erase_shapes.EraseCommand,
    erase_shapes.EraseAnswer,
    _erase,
    "events",
)
DEAD_JOB: Final[Endpoint[Admin]] = Endpoint(
    "GET",
    ROOT + "/dead/jobs/{job}",
    "dead_job",
    "Show what came of a command, waiting for another answer if need be.",
    dead_shapes.JobAsked,
    dead_shapes.JobAnswer,
    _job,
    "dead",
    offline=True,
)
DEAD_JOBS: Final = _get(
    "/dead/jobs",
    "dead_jobs",
    "List jobs about dead letters, with how far they are.",
    dead_shapes.JobsAsked,
    dead_shapes.Jobs,
    jobs.jobs,
)
DEAD_JOB_PAUSE: Final = _job_post("pause", "Release nothing more of a job.", partial(_steer, True))
DEAD_JOB_RESUME: Final = _job_post("resume", "Let a paused or stopped job go on.", partial(_steer, False))
SUBSCRIPTIONS: Final = _get(
    "/subscriptions",
    "subscriptions_list",
    "List subscriptions.",
    shapes.Nothing,
    shapes.Subscriptions,
    queries.subscriptions,
)
SUBSCRIPTION: Final = _get(
    "/subscriptions/{name}",
    "subscriptions_show",
    "Show a subscription with its cursors.",
    shapes.SubscriptionAsked,
    shapes.SubscriptionDetail,
    queries.subscription,
)
SUBSCRIPTION_PAUSE: Final = _control_post(
    "subscriptions", "pause", "Start no attempt of a subscription.", partial(_pause_subscription, True)
)
SUBSCRIPTION_RESUME: Final = _control_post(
    "subscriptions", "resume", "Start attempts of a subscription again.", partial(_pause_subscription, False)
)
SCHEDULES: Final = _get(
    "/schedules", "schedules_list", "List schedules.", shapes.Nothing, shapes.Schedules, queries.schedules
)._replace(offline=False)
SCHEDULE_PAUSE: Final = _control_post(
    "schedules", "pause", "Start no run of a schedule.", partial(_pause_schedule, True)
)
SCHEDULE_RESUME: Final = _control_post(
    "schedules", "resume", "Start runs of a schedule again.", partial(_pause_schedule, False)
)
SYSTEMS: Final = _get(
    "/systems", "systems_list", "List Systems.", shapes.Nothing, shapes.Systems, queries.systems
)._replace(offline=False)
SYSTEM_PAUSE: Final = _control_post(
    "systems", "pause", "Send nothing to a System; intake goes on.", partial(_pause_system, True)
)
SYSTEM_RESUME: Final = _control_post("systems", "resume", "Send to a System again.", partial(_pause_system, False))
CONFIG_RELOAD: Final[Endpoint[Admin]] = Endpoint(
    "POST",
    ROOT + "/config/reload",
    "config_reload",
    "Read the settings again and take over what can change without a restart.",
    shapes.ReloadCommand,
    shapes.ReloadAnswer,
    _reload,
    "config",
)
STREAMS: Final = _get("/streams", "streams_list", "List streams.", shapes.Nothing, shapes.Streams, queries.streams)
DOCTOR: Final = _get("/doctor", "doctor", "Check that the books balance.", shapes.Nothing, shapes.Doctor, health.doctor)
PLAN: Final = _get("/plan", "plan_show", "Show what runs.", shapes.Nothing, shapes.PlanInfo, queries.plan)._replace(
    offline=False
)
KNOWN: Final = _get(
    "/plan/known", "plan_known", "Show what the store knows of former plans.", shapes.Nothing, Known, queries.known
)
TAIL: Final[Endpoint[Admin]] = Endpoint(
    "GET",
    ROOT + "/tail",
    "tail",
    "What came after a position, waiting for it if need be.",
    shapes.TailAsked,
    shapes.Tail,
    _tail,
    "events",
)

ENDPOINTS: Final[tuple[Endpoint[Admin], ...]] = (
    EVENTS,
    EVENT,
    TAIL,
    DEAD,
    DEAD_LETTERS,
    DEAD_LETTER,
    DEAD_DIFF,
    DEAD_BLOCKED,
    DEAD_JOBS,
    DEAD_JOB,
    DEAD_JOB_PAUSE,
    DEAD_JOB_RESUME,
    DEAD_EXPORT,
    DEAD_IMPORT,
    DEAD_EDIT,
    DEAD_REHEARSE,
    # Behind those whose last part is a word: its own is a parameter.
    DEAD_SHOW,
    *DEAD_VERBS.values(),
    REPLAY,
    ERASE,
    SUBSCRIPTIONS,
    SUBSCRIPTION,
    SUBSCRIPTION_PAUSE,
    SUBSCRIPTION_RESUME,
    SCHEDULES,
    SCHEDULE_PAUSE,
    SCHEDULE_RESUME,
    SYSTEMS,
    SYSTEM_PAUSE,
    SYSTEM_RESUME,
    CONFIG_RELOAD,
    STREAMS,
    DOCTOR,
    PLAN,
    KNOWN,
)
