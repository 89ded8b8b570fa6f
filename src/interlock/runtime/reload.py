"""SIGHUP or `config reload`: the settings are read and checked again, and what can change in a running process does.

Secrets, certificates and the bindings of Systems are taken over. Everything else is told by name, and waits for a
restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from interlock.control.ports import Reloaded, ReloadRefused
from interlock.core.errors import InterlockError
from interlock.core.ports import Emit, Offload
from interlock.runtime.listen import Tls
from interlock.runtime.load import load
from interlock.runtime.secrets import SourcedSecrets
from interlock.runtime.settings import Settings, Setup, read_settings
from interlock.spec.check import planned
from interlock.spec.findings import Finding
from interlock.spec.plan import Plan


class Parts(NamedTuple):
    """What a reload acts on. `rebind` makes the engine run on with a plan and names the Systems that it concerns.

    Files are read in `offload`.
    """

    rebind: Callable[[Plan], Sequence[str]]
    secrets: SourcedSecrets
    certificates: Sequence[Tls]
    emit: Emit
    offload: Offload


class Reload:
    """`control.ports.Reloads`: reads the settings of a running process again, one reload after the other.

    Args:
        setup: what it was started with.
        settings: what it runs with.
        parts: what is reloaded.
    """

    def __init__(self, setup: Setup, settings: Settings, parts: Parts) -> None:
        self._setup = setup
        self._settings = settings
        self._parts = parts
        self._turn = asyncio.Lock()

    async def __call__(self, *, dry_run: bool = False) -> Reloaded | ReloadRefused:
        """All of it or nothing: if anything is wrong, `settings.refused` says what, and all stays as it was."""
        async with self._turn:
            try:
                seen = await self._parts.offload.run(partial(_look, self._setup, self._settings))
                wrong = [_told(finding) for finding in seen.findings if finding.severity == "error"]
                done = ReloadRefused(wrong) if wrong else self._would(seen) if dry_run else self._take_over(seen)
            except (InterlockError, OSError) as error:
                done = ReloadRefused([str(error)])
        if not dry_run:
            self._tell(done)
        return done

    def _tell(self, done: Reloaded | ReloadRefused) -> None:
        emit = self._parts.emit
        if isinstance(done, ReloadRefused):
            emit("settings.refused", findings=list(done.findings))
            return
        systems, waiting = list(done.systems), list(done.waiting)
        emit("settings.reloaded", systems=systems, certificates=done.certificates, waiting=waiting)
        self.tell_empty()

    def tell_empty(self) -> None:
        """Name the secrets whose source holds nothing: calls and webhooks that need them are refused."""
        empty = self._parts.secrets.empty
        if empty:
            self._parts.emit("secrets.empty", names=list(empty))

    def _would(self, seen: _Seen) -> Reloaded:
        """What taking over would come to. Nothing changes."""
        parts, after = self._parts, self._after(seen)
        for certificate in parts.certificates:
            certificate.check()
        old, new = self._settings.bindings.systems, after.bindings.systems
        systems = [name for name in (seen.plan.systems if seen.plan else ()) if old.get(name) != new.get(name)]
        empty = SourcedSecrets(seen.settings, self._setup.environment).empty
        return Reloaded(systems, len(parts.certificates), changed(after, seen.settings), empty)

    def _take_over(self, seen: _Seen) -> Reloaded:
        parts = self._parts
        for certificate in parts.certificates:
            certificate.check()
        systems = () if seen.plan is None else parts.rebind(seen.plan)
        self._settings = self._after(seen)
        empty = parts.secrets.reload(seen.settings.secrets)
        for certificate in parts.certificates:
            certificate.reload()
        return Reloaded(systems, len(parts.certificates), changed(self._settings, seen.settings), empty)

    def _after(self, seen: _Seen) -> Settings:
        """What the process runs with once it has taken over what it can."""
        if seen.plan is None:
            return self._settings
        bindings = msgspec.structs.replace(self._settings.bindings, systems=seen.settings.bindings.systems)
        return msgspec.structs.replace(self._settings, bindings=bindings)


def changed(old: Settings, new: Settings) -> list[str]:
    """The tables that differ, as they are written (`data`, `systems.payments.ledger`); secrets are not compared."""
    tables = [name for name in ("app", "store", "data", "control") if getattr(old, name) != getattr(new, name)]
    tables += _changed_names("systems", old.bindings.systems, new.bindings.systems)
    return tables + _changed_names("streams", old.bindings.streams, new.bindings.streams)


def _changed_names(table: str, old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    return [f"{table}.{name}" for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]


class _Seen(NamedTuple):
    """What is written now. `plan`: what runs, with these Systems; None if it cannot be known."""

    settings: Settings
    findings: Sequence[Finding]
    plan: Plan | None


def _look(setup: Setup, running: Settings) -> _Seen:
    """What is written now, checked against the declarations that run.

    Other modules would have to be imported for a check against theirs, and running new code is what a restart is for.
    """
    settings, findings, _ = read_settings(setup)
    if settings.app != running.app:
        return _Seen(settings, findings, None)
    loaded = load(setup)
    if loaded.plan is None:
        return _Seen(loaded.settings, loaded.findings, None)
    bindings = msgspec.structs.replace(loaded.settings.bindings, streams=running.bindings.streams)
    return _Seen(loaded.settings, loaded.findings, planned(loaded.integrations, bindings))


def _told(finding: Finding) -> str:
    return f"{finding.rule} at {finding.where}: {finding.subject}: {finding.why}"
