"""`interlock secrets`: names and sources are shown, secrets never; what is missing is said with its remedy."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest
from tests.unit.cli.project import Project, run_in

TOML = """
[app]
modules = ["shop"]
[secrets]
"shop.hook" = "file:secrets/hook"
"erp.token" = "env:ERP_TOKEN"
[systems."orders.erp"]
url = "http://127.0.0.1:1"
headers = {authorization = "Bearer secret:erp.token"}
"""
CODE = """
from interlock import Integration, github

orders = Integration("orders", owner="team", purpose="Orders arrive")
erp = orders.http("erp", honours_keys=True)


@orders.webhook("POST /hooks/shop", verify=github(secret="shop.hook"))
def accept(hook):
    return []
"""


@pytest.fixture
def shop(project: Project) -> Project:
    """A project that needs a secret from a file and one from the environment, and has neither."""
    (project.folder / "interlock.toml").write_text(TOML)
    (project.folder / "shop.py").write_text(CODE)
    return project


def test_a_secret_is_written_from_standard_input_for_its_owner_only_and_never_shown(shop: Project) -> None:
    told = run_in(shop.folder, "interlock", "secrets", "set", "shop.hook", given="hunter2\n")
    file = shop.folder / "secrets" / "hook"
    assert told.returncode == 0, told.stderr
    assert file.read_bytes().split() == [b"hunter2"]
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)
    assert [path.name for path in file.parent.iterdir()] == ["hook"]
    listed = run_in(shop.folder, "interlock", "secrets", "ls")
    assert "file:secrets/hook" in listed.stdout
    assert "hunter2" not in told.stdout + told.stderr + listed.stdout + listed.stderr


def test_a_secret_replaces_a_file_that_others_could_read(shop: Project) -> None:
    file = shop.folder / "secrets" / "hook"
    file.parent.mkdir()
    file.write_text("old")
    file.chmod(0o644)
    told = run_in(shop.folder, "interlock", "secrets", "set", "shop.hook", given="new old\n")
    assert "(2 active, readable by you only)" in told.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("name", "given", "code"),
    [
        ("shop.hook", " \n", "secret.empty"),
        ("shop.hook", "x" * 65_537, "secret.too-long"),
        ("erp.token", "x", "secret.not-a-file"),
        ("nobody", "x", "secret.unknown"),
    ],
)
def test_what_cannot_be_set_is_refused_and_nothing_is_written(shop: Project, name: str, given: str, code: str) -> None:
    told = run_in(shop.folder, "interlock", "secrets", "set", name, given=given)
    assert told.returncode == 1
    assert f"error[{code}]" in told.stderr
    assert "fix: " in told.stderr
    assert not (shop.folder / "secrets").exists()


def test_a_place_that_cannot_be_written_is_told(shop: Project) -> None:
    (shop.folder / "secrets").write_text("a file where the folder should be")
    told = run_in(shop.folder, "interlock", "secrets", "set", "shop.hook", given="x")
    assert "error[cli.unwritable]" in told.stderr


def test_a_secret_is_no_argument(shop: Project) -> None:
    assert shop.interlock("secrets", "set", "shop.hook", "hunter2").code == 2


def test_a_dry_run_names_the_file_and_asks_for_nothing(shop: Project) -> None:
    told = shop.interlock("secrets", "set", "shop.hook", "--dry-run")
    assert told.out == f"{shop.folder / 'secrets' / 'hook'} would be written\n"
    assert not (shop.folder / "secrets").exists()


def test_at_a_terminal_it_is_asked_for_without_an_echo(shop: Project) -> None:
    inner = [sys.executable, "-m", "interlock", "secrets", "set", "shop.hook"]
    code = f"import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn({inner!r})))"
    environment = {**os.environ, "NO_COLOR": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=shop.folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as terminal:
        assert terminal.stdin is not None
        assert terminal.stdout is not None
        seen = b""
        while b"shown): " not in seen:
            seen += terminal.stdout.read1()
        terminal.stdin.write(b"hunter2\n")
        terminal.stdin.flush()
        while part := terminal.stdout.read1():
            seen += part
        assert terminal.wait(30) == 0
    assert b"hunter2" not in seen
    assert (shop.folder / "secrets" / "hook").read_bytes() == b"hunter2"


def test_check_says_what_is_needed_by_whom_and_which_source_answers(shop: Project) -> None:
    missing = run_in(shop.folder, "interlock", "secrets", "check")
    assert missing.returncode == 1
    assert "fix: interlock secrets set shop.hook" in missing.stderr
    assert "fix: set the variable ERP_TOKEN where the process is started" in missing.stderr
    run_in(shop.folder, "interlock", "secrets", "set", "shop.hook", given="hunter2")
    half = run_in(shop.folder, "interlock", "secrets", "check", "-o", "id")
    assert (half.returncode, half.stdout) == (1, "erp.token\n")
    whole = run_in(shop.folder, "interlock", "secrets", "check", "-o", "json", ERP_TOKEN="hunter3 hunter2")
    assert whole.returncode == 0
    assert json.loads(whole.stdout) == [
        {
            "name": "shop.hook",
            "source": "file:secrets/hook",
            "active": 1,
            "needed_by": ["orders.accept"],
            "ok": True,
        },
        {"name": "erp.token", "source": "env:ERP_TOKEN", "active": 2, "needed_by": ["orders.erp"], "ok": True},
    ]


def test_check_names_a_secret_that_has_no_source_and_refuses_a_project_that_is_wrong_otherwise(shop: Project) -> None:
    (shop.folder / "interlock.toml").write_text(TOML.replace('"erp.token" =', "other ="))
    told = run_in(shop.folder, "interlock", "secrets", "check", other="x")
    assert told.returncode == 1
    assert 'add "erp.token" = "env:NAME"' in told.stderr
    (shop.folder / "shop.py").write_text("import nowhere_at_all\n")
    wrong = run_in(shop.folder, "interlock", "secrets", "check")
    assert (wrong.returncode, wrong.stdout) == (3, "")
    assert "spec.not-importable" in wrong.stderr
