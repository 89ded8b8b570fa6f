"""`interlock config show` and `interlock completion`: what is set and where, and what a shell completes."""

from __future__ import annotations

import json

import pytest
from tests.terminal import at_terminal
from tests.unit.cli.project import Project, run_in


def test_settings_are_shown_with_overlay_environment_and_flags_and_each_with_its_place(project: Project) -> None:
    (project.folder / "interlock.toml").write_text("[data]\nport = 9000\n[control]\nport = 9001\n")
    (project.folder / "interlock.production.toml").write_text('[store]\nurl = "memory:"\n')
    asked = ("interlock", "--env", "production", "config", "show", "--port", "7", "-o", "json")
    told = run_in(project.folder, *asked, INTERLOCK_CONTROL__PORT="8")
    found = {row["key"]: (row["value"], row["origin"]) for row in json.loads(told.stdout)}
    assert found["data.port"] == (7, "--data.port")
    assert found["control.port"] == (8, "$INTERLOCK_CONTROL__PORT")
    assert found["store.url"] == ("memory:", "interlock.production.toml:2")
    assert found["data.host"] == ("127.0.0.1", "default")


def test_the_table_has_origins_when_they_are_asked_for_and_says_how_to_ask(project: Project) -> None:
    plain = project.interlock("config", "show")
    assert "interlock.toml:2" not in plain.out
    assert "hint: interlock config show --origin" in at_terminal(project.folder, "config", "show").text
    assert "interlock.toml:2" in project.interlock("config", "show", "--origin").out


def test_a_wrong_setting_is_told_after_the_table_and_a_literal_secret_is_not_repeated(project: Project) -> None:
    (project.folder / "interlock.toml").write_text('[data]\nprot = 1\n[secrets]\npsp = "hunter2"\n')
    told = project.interlock("config", "show", "--origin")
    assert told.code == 3
    assert "error[settings.unknown-key]" in told.err
    assert "error[settings.secret-literal]" in told.err
    assert "data.port" in told.out
    assert "hunter2" not in told.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_a_script_that_asks_this_program(project: Project, shell: str) -> None:
    told = run_in(project.folder, "interlock", "completion", shell)
    assert told.returncode == 0
    assert f"_INTERLOCK_COMPLETE={shell}_complete" in told.stdout


def test_verbs_and_nouns_are_completed_without_a_project_being_asked(project: Project) -> None:
    def completed(words: str) -> list[str]:
        count = str(len(words.split()) - (not words.endswith(" ")))
        told = run_in(
            project.folder, "interlock", _INTERLOCK_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=count
        )
        return [line.partition(",")[2] for line in told.stdout.split()]

    assert completed("interlock sub") == ["subscriptions"]
    assert sorted(completed("interlock secrets ")) == ["check", "ls", "set"]
    assert "--template" in completed("interlock init --t")
