"""`interlock check` on a project in which nearly everything is wrong: each thing with its place, in one run."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.e2e.project import Project

BROKEN = """
from dataclasses import dataclass
from datetime import timedelta

from interlock import Integration, standard_webhooks

billing = Integration("billing", owner="", purpose="Invoices reach the books")
books = billing.http("books")


@dataclass
class Invoice:
    number: str


invoiced = billing.event("invoice.made", Invoice, version=1)


@billing.webhook("POST /hooks/bank", verify=standard_webhooks(secret="bank.hook"))
def accept(hook):
    return []


@billing.subscribe(invoiced, deadline=timedelta(hours=1))
async def book(event, context):
    headers = {"authorization": "Bearer sk_live_KEY"}
    await context.use(books).post("/entries", json={}, headers=headers)
""".replace("KEY", "4eC39HqLyjWDarjtT1zdp7dc")
BINDINGS = """[app]
modules = ["shop"]
[data]
prot = 8080
[systems."billing.bokos"]
url = "http://127.0.0.1:1"
"""
FOUND = {
    ("error", "settings.unknown-key", "interlock.toml", 4),
    ("error", "spec.owner-missing", "shop.py", 7),
    ("error", "spec.system-unbound", "shop.py", 8),
    ("error", "spec.secret-unknown", "shop.py", 19),
    ("error", "spec.deadline", "shop.py", 24),
    ("error", "spec.order-needs-key", "shop.py", 24),
    ("error", "spec.secret-literal", "shop.py", 26),
    ("error", "spec.binding-unknown", "interlock.toml", 6),
    ("warning", "spec.keys-unsaid", "shop.py", 8),
    ("warning", "spec.freshness-unsaid", "shop.py", 24),
    ("warning", "spec.on-dead-unsaid", "shop.py", 24),
}


@pytest.fixture
def broken(project: Project) -> Project:
    """The project, with the code and the bindings above."""
    project.write(BROKEN)
    (project.folder / "interlock.toml").write_text(BINDINGS)
    return project


def test_check_finds_each_thing_at_its_file_and_line_with_the_reason_and_the_fix(broken: Project) -> None:
    found = broken.cli("check", "--format", "json", code=3).json
    assert {(one["severity"], one["rule"], Path(one["file"]).name, one["line"]) for one in found} == FOUND
    assert all(one["why"] and one["fix"] for one in found)


def test_check_shows_people_the_line_and_programs_an_annotation(broken: Project) -> None:
    told = broken.cli("check", code=3)
    assert "error[spec.owner-missing] billing: it has no owner" in told.out
    assert '  7 | billing = Integration("billing", owner="", purpose="Invoices reach the books")' in told.out
    assert told.err.splitlines()[-1] == "check: 8 errors, 3 warnings"
    annotations = broken.cli("check", "--format", "github", code=3).out.splitlines()
    assert len(annotations) == len(FOUND)
    assert annotations[0].startswith("::error file=interlock.toml,line=4,title=settings.unknown-key::")


def test_run_refuses_a_project_that_check_refuses_and_makes_no_store(broken: Project) -> None:
    told = broken.cli("run", code=3)
    assert "error[spec.owner-missing]" in told.err
    assert not (broken.folder / ".interlock").exists()


def test_a_sound_project_passes_strictly_from_another_folder(project: Project) -> None:
    told = project.cli("-C", str(project.folder), "check", "--strict")
    assert "check: ok" in told.err
