"""Each bug can still be put in, somebody is known to notice it, and the page says who."""

from __future__ import annotations

import re

import pytest
from tests.bugs import table
from tests.bugs.table import ROOT, Bug

FUNCTIONS = {name for path in (ROOT / "tests").rglob("*.py") for name in re.findall(r"def (\w+)\(", path.read_text())}


def test_names_are_given_once() -> None:
    names = [bug.name for bug in table.bugs()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("bug", table.bugs(), ids=lambda bug: bug.name)
def test_a_bug_can_be_put_in_and_its_catch_is_of_this_form_of_it(bug: Bug) -> None:
    for path, text in table.changed(bug).items():
        compile(text, str(path), "exec")
    caught = table.caught().get(bug.name)
    assert caught is not None, f"python -m tests.bugs --only {bug.name}"
    assert caught.digest == bug.digest(), f"it was changed: python -m tests.bugs --only {bug.name}"
    if ".py" in caught.by:
        assert caught.by.split("[")[0].rsplit("::", 1)[-1] in FUNCTIONS, f"python -m tests.bugs --only {bug.name}"


def test_the_page_says_what_is_known() -> None:
    page = table.PAGE.read_text()
    assert page == table.page_with_table(page), "python -m tests.bugs --table"
