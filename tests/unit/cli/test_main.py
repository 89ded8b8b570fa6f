"""The root of the command line: its verbs, its exit codes, and what it says when something goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from tests.unit.cli.project import Project

from interlock.cli.main import VERBS, root, run


def test_every_verb_of_the_table_is_a_command_with_the_tables_help() -> None:
    context = click.Context(root)
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert VERBS[name].help.endswith(".")
    assert root.get_command(context, "nonsense") is None


def test_every_mutation_has_a_dry_run() -> None:
    context = click.Context(root)
    reading = {
        "ls",
        "show",
        "run",
        "check",
        "tail",
        "doctor",
        "demo",
        "completion",
        "plan",
        "dev",
        "current",
        "job",
        "jobs",
        "diff",
        "blocked",
        "export",
        "simulate",
    }
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        leaves = command.commands.values() if isinstance(command, click.Group) else [command]
        for leaf in leaves:
            assert leaf is not None
            options = {option for parameter in leaf.params for option in parameter.opts}
            assert leaf.name in reading or "--dry-run" in options, f"{name} {leaf.name}"


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["events"], ["events", "ls", "--nonsense"], ["dead", "ls", "-n", "x"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().out == ""


def test_help_and_version_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(verb.help in " ".join(shown.split()) for verb in VERBS.values())
    assert run(["--version"]) == 0
    assert "interlock" in capsys.readouterr().out


def test_a_project_that_raises_when_it_is_imported_is_told_with_its_line_and_no_traceback(project: Project) -> None:
    (project.folder / "raises_on_import.py").write_text("import os\n\nraise RuntimeError('no luck \\x1b[31m')\n")
    (project.folder / "interlock.toml").write_text('[app]\nmodules = ["raises_on_import"]\n')
    said = project.interlock("check")
    assert said.code == 3
    assert "error[spec.not-importable]" in said.out
    assert "RuntimeError: no luck \\x1b[31m" in said.out
    assert "raises_on_import.py:3" in said.out
    assert "  3 | raise RuntimeError" in said.out
    assert "Traceback" not in said.out + said.err


def test_a_project_that_ends_the_process_when_it_is_imported_is_not_taken_for_a_success(project: Project) -> None:
    (project.folder / "leaves_on_import.py").write_text("raise SystemExit('enough')\n")
    (project.folder / "interlock.toml").write_text('[app]\nmodules = ["leaves_on_import"]\n')
    with pytest.raises(SystemExit, match="enough"):
        project.interlock("check")


def test_check_shows_each_finding_with_its_source_and_exits_with_3(project: Project) -> None:
    (project.folder / "wrong_project.py").write_text(
        "from interlock.spec.declare import Integration\n\nshop = Integration('shop', owner='', purpose='')\n"
    )
    (project.folder / "interlock.toml").write_text('[app]\nmodules = ["wrong_project"]\n\n[data]\nprot = 1\n')
    said = project.interlock("check")
    assert said.code == 3
    assert "error[settings.unknown-key]" in said.out
    assert "interlock.toml:5" in said.out
    assert "  5 | prot = 1" in said.out
    assert "  fix: Did you mean 'port'?" in said.out
    assert "  docs: https://" in said.out
    found = json.loads(project.interlock("check", "--format", "json").out)
    assert {"rule", "severity", "subject", "file", "line", "why", "fix"} == found[0].keys()
    github = project.interlock("check", "--format", "github").out.splitlines()
    assert len(github) == len(found)
    assert all(line.startswith(("::error file=", "::warning file=")) for line in github)


def test_a_right_project_passes_check(project: Project) -> None:
    (project.folder / "right_project.py").write_text(
        "from interlock.spec.declare import Integration\n\n"
        "shop = Integration('shop', owner='shop-team', purpose='Orders reach the books')\n"
    )
    (project.folder / "interlock.toml").write_text('[app]\nmodules = ["right_project"]\n')
    said = project.interlock("check", "--strict")
    assert (said.code, said.out) == (0, "")
    assert "check: ok" in said.err


def test_run_refuses_a_project_with_errors(project: Project) -> None:
    (project.folder / "interlock.toml").write_text("[data]\nprot = 1\n")
    said = project.interlock("run")
    assert said.code == 3
    assert "error[settings.unknown-key]" in said.err
    assert not (project.folder / ".interlock").exists()


def test_send_shows_what_it_would_send(project: Project, tmp_path: Path) -> None:
    said = project.interlock("send", "order.paid", '{"n": 12345678901234567890123}', "--id", "i1", "--dry-run")
    event = json.loads(said.out)
    assert (event["specversion"], event["id"], event["type"]) == ("1.0", "i1", "order.paid")
    assert "12345678901234567890123" in said.out
    (tmp_path / "p.json").write_text("[1]")
    assert json.loads(project.interlock("send", "x", "--file", str(tmp_path / "p.json"), "--dry-run").out)["data"] == [
        1
    ]


@pytest.mark.parametrize(
    "arguments", [("{}", "--file", "-"), (), ("{",), ("NaN",), ("[" * 100_000,), ("--file", "/nonexistent")]
)
def test_send_takes_exactly_one_payload_and_only_json(project: Project, arguments: tuple[str, ...]) -> None:
    said = project.interlock("send", "x", *arguments, "--dry-run")
    assert said.code in (1, 2)
    assert said.out == ""


@pytest.mark.parametrize(
    "words",
    [
        *("events ls", "events show evt_0", "dead ls", "dead show fp_a", "dead job job_a", "doctor", "tail"),
        *(f"dead {verb} fp_a --yes" for verb in ("retry", "skip", "discard", "restore")),
        *("subscriptions ls", "subscriptions show a", "subscriptions pause a --yes", "subscriptions resume a"),
        *("subscriptions retire a --yes", "systems ls", "systems pause a --yes", "systems resume a"),
        *("schedules ls", "schedules pause a --yes", "schedules resume a", "config reload", "send a {}"),
    ],
)
def test_what_needs_a_process_or_a_store_exits_with_4_where_there_is_none(project: Project, words: str) -> None:
    said = project.interlock(*words.split())
    assert (said.code, said.out) == (4, "")
    assert said.err.startswith("error[cli.unreachable]")


@pytest.mark.parametrize("words", ["check", "run", "plan", "secrets check"])
def test_what_needs_a_right_project_exits_with_3_where_it_is_wrong(project: Project, words: str) -> None:
    (project.folder / "interlock.toml").write_text("[data]\nprot = 1\n")
    assert project.interlock(*words.split()).code == 3


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("events show evt_0000", "event.unknown"),
        ("events show evt_", "event.ambiguous"),
        ("dead show fp_", "dead.ambiguous"),
        ("subscriptions show nobody", "subscription.unknown"),
        ("dead job job_1", "job.unknown"),
        ("subscriptions rename nobody other", "store.subscription-unknown"),
        ("secrets set nobody", "secret.unknown"),
        ("init .", "cli.folder-taken"),
    ],
)
def test_what_is_refused_exits_with_1_and_says_why_and_how_to_mend_it(project: Project, words: str, error: str) -> None:
    project.with_history()
    said = project.interlock(*words.split())
    assert (said.code, said.out) == (1, "")
    first, *further = said.err.splitlines()
    assert first.startswith(f"error[{error}] ")
    assert [line.split(":")[0] for line in further if line.startswith(("  fix", "  docs"))] == ["  fix", "  docs"]


def test_a_verb_that_is_misspelt_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evnts", "ls"]) == 2
    assert "Did you mean 'events'?" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["[app\n", "[app]\nmodules = = 1\n", "\x00", '[app]\nmodules = ["a"\n'])
def test_a_file_that_is_not_toml_is_told_with_its_line_and_nothing_that_follows_from_it(
    project: Project, content: str
) -> None:
    (project.folder / "interlock.toml").write_text(content)
    said = project.interlock("check")
    assert said.code == 3
    assert said.out.count("error[") == 1
    assert "error[settings.not-toml]" in said.out
    assert "interlock.toml:" in said.out


@pytest.mark.parametrize(
    ("code", "error", "told"),
    [
        ("import os\nx = undefined_name\n", "spec.not-importable", "NameError: name 'undefined_name' is not defined"),
        ("import nowhere_at_all\n", "spec.not-importable", "No module named 'nowhere_at_all'"),
        ("x = 1\ndef f(:\n    pass\n", "spec.not-python", "invalid syntax"),
        ("assert False, 'no luck'\n", "spec.not-importable", "AssertionError: no luck"),
    ],
)
def test_a_module_that_cannot_be_read_is_one_finding_at_its_line(
    project: Project, code: str, error: str, told: str
) -> None:
    name = f"broken_{abs(hash(code))}"
    (project.folder / f"{name}.py").write_text(code)
    bound = '\n[systems."shop.books"]\nurl = "https://books.example"\n'
    (project.folder / "interlock.toml").write_text(f'[app]\nmodules = ["{name}"]\n{bound}')
    said = project.interlock("check")
    assert said.code == 3
    assert said.out.count("error[") == 1
    assert f"error[{error}]" in said.out
    assert told in said.out
    assert f"{name}.py:" in said.out
    assert "  fix: Mend the" in said.out
    assert said.err == "check: 1 error, 0 warnings\n"
