"""The exit codes of the command line, and how a verb ends with one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
FINDINGS: Final = 3
"""`check` or `doctor` found something."""
UNREACHABLE: Final = 4
"""No process answers."""
INTERRUPTED: Final = 130

MEANINGS: Final[Mapping[int, str]] = {
    OK: "done",
    FAILED: "it failed, or was refused; the error says why",
    USAGE: "the command was called wrongly, or had to ask where nobody can be asked",
    FINDINGS: "`check` or `doctor` found something, or the project has errors",
    UNREACHABLE: "no process answers",
    INTERRUPTED: "interrupted by Ctrl-C",
}
"""What each says, for the reference."""


class Exit(Exception):
    """Ends the process with `code`; whatever there was to say has been said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
