"""SIGHUP: the settings are read and checked again, and what can change in a running process changes.

Secrets and certificates are taken over. Everything else is part of the plan, whose digest is stamped on every attempt:
it is told by name, and waits for a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from interlock.core.errors import InterlockError
from interlock.core.ports import Emit, Offload
from interlock.runtime.listen import Tls
from interlock.runtime.load import load
from interlock.runtime.secrets import SourcedSecrets
from interlock.runtime.settings import Settings, Setup, read_settings
from interlock.spec.findings import Finding


class Reload:
    """Reads the settings of a running process again.

    Args:
        setup: what it was started with.
        settings: what it runs with.
        secrets, certificates: what is taken over.
    """

    def __init__(
        self, setup: Setup, settings: Settings, secrets: SourcedSecrets, certificates: Sequence[Tls], emit: Emit
    ) -> None:
        self._setup = setup
        self._settings = settings
        self._secrets = secrets
        self._certificates = certificates
        self._emit = emit

    async def __call__(self, offload: Offload) -> None:
        """All of it or nothing: if anything is wrong, `settings.refused` says what, and all stays as it was."""
        try:
            settings, findings = await offload.run(partial(_look, self._setup, self._settings))
            for certificate in self._certificates:
                certificate.check()
        except (InterlockError, OSError) as error:
            self._emit("settings.refused", findings=[str(error)])
            return
        wrong = [finding for finding in findings if finding.severity == "error"]
        if wrong:
            self._emit("settings.refused", findings=[_told(finding) for finding in wrong])
            return
        self._secrets.reload(settings.secrets)
        for certificate in self._certificates:
            certificate.reload()
        waiting = changed(self._settings, settings)
        self._emit("settings.reloaded", certificates=len(self._certificates), waiting=waiting)
        self.tell_empty()

    def tell_empty(self) -> None:
        """Name the secrets whose source holds nothing: calls and webhooks that need them are refused."""
        if self._secrets.empty:
            self._emit("secrets.empty", names=list(self._secrets.empty))


def changed(old: Settings, new: Settings) -> list[str]:
    """The tables that differ and wait for a restart, as they are written (`data`, `systems.payments.ledger`)."""
    tables = [name for name in ("app", "store", "data", "control") if getattr(old, name) != getattr(new, name)]
    tables += _changed_names("systems", old.bindings.systems, new.bindings.systems)
    return tables + _changed_names("streams", old.bindings.streams, new.bindings.streams)


def _changed_names(table: str, old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    return [f"{table}.{name}" for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]


def _look(setup: Setup, running: Settings) -> tuple[Settings, Sequence[Finding]]:
    """What is written now, checked against the declarations that run.

    Other modules would have to be imported for a check against theirs, and running new code is what a restart is for.
    """
    settings, findings, _ = read_settings(setup)
    if settings.app != running.app:
        return settings, findings
    loaded = load(setup)
    return loaded.settings, loaded.findings


def _told(finding: Finding) -> str:
    return f"{finding.rule} at {finding.where}: {finding.subject}: {finding.why}"
