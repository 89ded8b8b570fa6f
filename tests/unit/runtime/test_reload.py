"""SIGHUP and `config reload`: checked first, all or nothing, and said by name."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.certificates import self_made

from interlock.control.ports import Reloaded, ReloadRefused
from interlock.journal.memory import Inline
from interlock.runtime.listen import Tls
from interlock.runtime.load import load
from interlock.runtime.reload import Parts, Reload
from interlock.runtime.secrets import SourcedSecrets
from interlock.runtime.settings import Setup
from interlock.spec.plan import Plan

NOTHING_ELSE = {"systems": [], "certificates": 1, "waiting": []}
CODE = """
from dataclasses import dataclass
from interlock import Integration

shop = Integration("shop", owner="shop-team", purpose="Paid orders reach the ledger")
ledger = shop.http("ledger", honours_keys=True)

@dataclass
class Paid:
    order: str

paid = shop.event("order.paid", Paid, key=lambda p: p.order)
"""
TOML = """
[app]
modules = ["reloaded_shop"]
[data]
tls_certificate = "cert.pem"
tls_key = "key.pem"
[systems."shop.ledger"]
url = "https://ledger.example"
headers = { authorization = "secret:ledger.token" }
[secrets]
"ledger.token" = "file:token"
"""


class Running:
    """A process as far as a reload sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: list[tuple[str, dict[str, Any]]] = []
        self_made(folder, "first")
        (folder / "reloaded_shop.py").write_text(CODE)
        (folder / "token").write_text("old")
        self.write(TOML)
        setup = Setup(folder)
        loaded = load(setup)
        assert loaded.plan is not None, loaded.findings
        self.secrets = SourcedSecrets(loaded.settings, {})
        self.tls = Tls(folder / "cert.pem", folder / "key.pem")
        self.plan = loaded.plan
        parts = Parts(self._rebind, self.secrets, [self.tls], self._emit, Inline())
        self._reload = Reload(setup, loaded.settings, parts)

    def write(self, toml: str) -> None:
        (self.folder / "interlock.toml").write_text(toml)

    def hang_up(self) -> list[tuple[str, dict[str, Any]]]:
        self.records.clear()
        asyncio.run(self._reload())
        return self.records

    def asked(self, *, dry_run: bool = False) -> Reloaded | ReloadRefused:
        self.records.clear()
        return asyncio.run(self._reload(dry_run=dry_run))

    def _rebind(self, plan: Plan) -> list[str]:
        news = [name for name, binding in plan.bindings.items() if binding != self.plan.bindings[name]]
        self.plan = plan
        return news

    def _emit(self, record: str, /, **fields: Any) -> None:
        self.records.append((record, fields))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    paths = list(sys.path)
    yield Running(tmp_path)
    sys.path[:] = paths
    sys.modules.pop("reloaded_shop", None)


def test_a_secret_that_was_changed_is_taken_over(running: Running) -> None:
    (running.folder / "token").write_text("new old")
    assert running.hang_up() == [("settings.reloaded", NOTHING_ELSE)]
    assert running.secrets.active("ledger.token") == (b"new", b"old")


def test_a_secret_may_move_to_another_source(running: Running) -> None:
    (running.folder / "elsewhere").write_text("moved")
    running.write(TOML.replace("file:token", "file:elsewhere"))
    running.hang_up()
    assert running.secrets.active("ledger.token") == (b"moved",)


def test_a_secret_whose_source_holds_nothing_is_named(running: Running) -> None:
    (running.folder / "token").unlink()
    assert running.hang_up()[1:] == [("secrets.empty", {"names": ["ledger.token"]})]


def test_a_system_is_bound_anew_and_the_plan_has_another_digest(running: Running) -> None:
    digest = running.plan.digest
    running.write(TOML.replace("ledger.example", "books.example"))
    assert running.hang_up() == [("settings.reloaded", NOTHING_ELSE | {"systems": ["shop.ledger"]})]
    assert running.plan.bindings["shop.ledger"].url == "https://books.example"
    assert running.plan.digest != digest
    assert running.hang_up() == [("settings.reloaded", NOTHING_ELSE)]


def test_what_waits_for_a_restart_is_said_by_its_table_and_is_not_in_the_plan(running: Running) -> None:
    digest = running.plan.digest
    running.write(TOML + '[store]\nurl = "memory:"\n[streams."shop"]\nkeep = "1h"\n')
    assert running.hang_up() == [("settings.reloaded", NOTHING_ELSE | {"waiting": ["store", "streams.shop"]})]
    assert running.plan.digest == digest


def test_other_modules_are_not_imported_into_a_running_process(running: Running) -> None:
    (running.folder / "surprise.py").write_text("raise SystemExit('imported')")
    changed = TOML.replace('"reloaded_shop"', '"reloaded_shop", "surprise"').replace("ledger.example", "b.example")
    running.write(changed)
    waiting = ["app", "systems.shop.ledger"]
    assert running.hang_up() == [("settings.reloaded", NOTHING_ELSE | {"waiting": waiting})]


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        (TOML + "[", "settings.not-toml"),
        (TOML + "[control]\nprot = 1\n", "settings.unknown-key"),
        (TOML.replace("secret:ledger.token", "secret:ledger.tokem"), "ledger.tokem"),
    ],
)
def test_settings_that_are_wrong_change_nothing(running: Running, toml: str, told: str) -> None:
    (running.folder / "token").write_text("new")
    running.write(toml)
    ((record, fields),) = running.hang_up()
    assert record == "settings.refused"
    assert told in fields["findings"][0]
    assert running.secrets.active("ledger.token") == (b"old",)


def test_a_certificate_that_cannot_be_served_keeps_the_secrets_as_they_were_too(running: Running) -> None:
    (running.folder / "token").write_text("new")
    (running.folder / "key.pem").write_text("no key")
    ((record, fields),) = running.hang_up()
    assert record == "settings.refused"
    assert "key.pem" in fields["findings"][0]
    assert running.secrets.active("ledger.token") == (b"old",)


def test_a_dry_run_tells_what_a_reload_then_tells_and_changes_nothing(running: Running) -> None:
    (running.folder / "token").unlink()
    running.write(TOML.replace("ledger.example", "books.example") + '[store]\nurl = "memory:"\n')
    digest = running.plan.digest
    told = running.asked(dry_run=True)
    assert told == Reloaded(["shop.ledger"], 1, ["store"], ["ledger.token"])
    assert (running.records, running.plan.digest, running.secrets.active("ledger.token")) == ([], digest, (b"old",))
    assert running.asked() == told
    assert [record for record, _ in running.records] == ["settings.reloaded", "secrets.empty"]
    assert running.plan.digest != digest
    assert running.asked(dry_run=True) == told._replace(systems=[])


def test_a_dry_run_of_wrong_settings_says_what_is_wrong_to_who_asked_only(running: Running) -> None:
    running.write(TOML + "[control]\nprot = 1\n")
    refused = running.asked(dry_run=True)
    assert isinstance(refused, ReloadRefused)
    assert refused.findings[0].startswith("settings.unknown-key at ")
    assert running.records == []
    assert running.asked() == refused
    assert running.records == [("settings.refused", {"findings": list(refused.findings)})]
    (running.folder / "key.pem").write_text("no key")
    running.write(TOML)
    assert isinstance(running.asked(dry_run=True), ReloadRefused)
