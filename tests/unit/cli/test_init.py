"""`interlock init`: what it makes can be checked and tested at once, and it overwrites nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.terminal import at_terminal
from tests.unit.cli.project import Project, run_in

from interlock.cli.init import TEMPLATES


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_fresh_project_passes_its_check_without_a_warning_and_its_own_tests(project: Project, template: str) -> None:
    made = project.interlock("init", "fresh", "--template", template)
    folder = project.folder / "fresh"
    assert made.code == 0
    assert sorted(made.out.split()) == sorted(str(path) for path in folder.rglob("*") if path.is_file())
    checked = run_in(folder, "interlock", "check", "--strict")
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stdout + checked.stderr
    tested = run_in(folder, "pytest", "-q", "-p", "no:cacheprovider")
    assert tested.returncode == 0, tested.stdout
    assert " passed" in tested.stdout


def test_what_to_do_next_is_said_at_a_terminal(tmp_path: Path) -> None:
    seen = at_terminal(tmp_path, "init", "shop")
    assert seen.code == 0
    assert "&& interlock check, then pytest, then interlock dev" in seen.text


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_readme_names_the_project_and_no_cache_is_copied(project: Project, template: str) -> None:
    project.interlock("init", "my-shop", "--template", template)
    folder = project.folder / "my-shop"
    assert (folder / "README.md").read_text().startswith("# my-shop\n")
    assert (folder / ".gitignore").read_text().startswith(".interlock/\n")
    assert [path for path in folder.rglob("*") if "{{" in path.name or path.suffix == ".pyc"] == []


def test_nothing_is_overwritten_and_the_remedy_is_said(project: Project) -> None:
    folder = project.folder / "shop"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    refused = project.interlock("init", "shop")
    assert refused.code == 1
    assert "error[cli.folder-taken]" in refused.err
    assert "mine.txt" in refused.err
    assert "fix: " in refused.err
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_a_folder_that_only_has_a_repository_and_an_environment_may_become_a_project(project: Project) -> None:
    for name in (".git", ".venv"):
        (project.folder / "shop" / name).mkdir(parents=True)
    assert project.interlock("init", "shop").code == 0
    assert project.interlock("init", "shop").code == 1


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(project: Project) -> None:
    said = project.interlock("init", "shop", "--template", "webhook", "--dry-run")
    assert said.code == 0
    assert "payments.py" in said.out
    assert "would create" in said.err
    assert not (project.folder / "shop").exists()


def test_a_folder_that_cannot_be_written_is_told_with_its_remedy(project: Project) -> None:
    (project.folder / "file").write_text("")
    refused = project.interlock("init", "file/shop")
    assert refused.code == 1
    assert "error[cli.unwritable]" in refused.err
