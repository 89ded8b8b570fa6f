"""The exit codes of the command line, and how a verb ends with one."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
FINDINGS: Final = 3
"""`check` or `doctor` found something."""
UNREACHABLE: Final = 4
"""No process answers."""
INTERRUPTED: Final = 130


class Exit(Exception):
    """Ends the process with `code`; whatever there was to say has been said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
