"""A project's folder becomes a plan, or findings that say what to mend and where."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

import pytest

from interlock.runtime.load import Loaded, load
from interlock.runtime.settings import Setup

NUMBERS = count()
SHOP = """\
import dataclasses
from datetime import timedelta
from interlock import Integration, github

@dataclasses.dataclass
class Push:
    repository: str

shop = Integration("shop", owner="shop-team", purpose="Pushes reach the tracker")
tracker = shop.http("tracker", honours_keys=True)
push = shop.event("push", Push, key=lambda p: p.repository)

@shop.webhook("POST /hooks/github", verify=github(secret="github.webhook"))
def accept(hook):
    return []

@shop.subscribe(push, on_dead="skip", freshness=timedelta(minutes=1))
async def track(event, context):
    await context.use(tracker).post("/issues")
"""
SETTINGS = """\
[app]
modules = ["MODULE:shop"]

[systems."shop.tracker"]
url = "https://tracker.example"

[secrets]
"github.webhook" = "env:GITHUB_SECRET"
"""


@pytest.fixture
def project(tmp_path):
    """Writes a project whose module has a name of its own, because modules live as long as the process."""
    made: list[str] = []

    def write(code: str = SHOP, settings: str = SETTINGS) -> Loaded:
        name = f"shop_of_test_{next(NUMBERS)}"
        made.append(name)
        (tmp_path / f"{name}.py").write_text(code)
        (tmp_path / "interlock.toml").write_text(settings.replace("MODULE", name))
        return load(Setup(tmp_path))

    path = list(sys.path)
    yield write
    sys.path[:] = path
    for name in made:
        sys.modules.pop(name, None)


def rules(loaded: Loaded) -> list[str]:
    return [finding.rule for finding in loaded.findings]


def test_a_right_project_becomes_a_plan_without_findings(project):
    loaded = project()
    assert loaded.findings == []
    assert loaded.plan is not None
    assert loaded.plan.subscriptions["shop.track"].systems == ("shop.tracker",)
    assert loaded.plan.bindings["shop.tracker"].url == "https://tracker.example"


def test_a_module_may_be_named_without_its_attribute(project):
    assert project(settings=SETTINGS.replace(":shop", "")).plan is not None


def test_an_error_leaves_no_plan(project):
    loaded = project(code=SHOP.replace("shop-team", ""))
    assert rules(loaded) == ["spec.owner-missing"]
    assert loaded.plan is None


def test_a_secret_in_the_code_is_found_at_its_line(project):
    secret = "ghp" + "_16C7e42F292c6912E7710c838347Ae178B4a"
    (finding,) = project(code=SHOP + f"TOKEN = {secret!r}\n").findings
    assert finding.rule == "spec.secret-literal"
    assert finding.where.line == SHOP.count("\n") + 1
    assert secret not in str(finding)


@pytest.mark.parametrize(
    ("code", "rule", "line"),
    [
        ("import nothing_of_that_name\n", "spec.not-importable", 1),
        ("x = 1\nfrom interlock import nothing_of_that_name\n", "spec.not-importable", 2),
        ("x = 1\ndef (\n", "spec.not-python", 2),
        ("from interlock import Integration\nshop = Integration('shop')\n", "spec.not-importable", 2),
        (SHOP.replace("Push, key", "int, key"), "spec.model-unsupported", 11),
    ],
)
def test_code_that_cannot_be_imported_is_a_finding_at_its_line(project, code, rule, line):
    finding = project(code=code).findings[0]
    assert (finding.rule, finding.where.line) == (rule, line)
    assert Path(finding.where.file).name.startswith("shop_of_test_")


def test_a_module_without_an_integration_is_a_finding(project):
    finding = project(code="shop = 1\n").findings[0]
    assert (finding.rule, finding.where.line) == ("settings.no-integration", 2)


def test_a_project_that_names_no_module_is_a_finding(tmp_path):
    assert rules(load(Setup(tmp_path))) == ["settings.no-modules"]
