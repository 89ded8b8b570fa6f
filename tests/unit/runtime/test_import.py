"""What an import costs: the vocabulary and `--help` load none of the machinery behind them."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "apsw",
    "asyncio",
    "click",
    "cryptography",
    "jinja2",
    "prometheus_client",
    "socket",
    "ssl",
    "starlette",
    "uvicorn",
}
VOCABULARY = "import interlock"
HELP = "from interlock.cli.main import run; run(['--help'])"


@pytest.mark.parametrize(("code", "allowed"), [(VOCABULARY, set[str]()), (HELP, {"click", "socket"})])
def test_little_is_loaded_for_the_vocabulary_and_for_help(code: str, allowed: set[str]) -> None:
    listed = f"{code}\nimport sys; print('loaded', *(m for m in {sorted(HEAVY)!r} if m in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True)
    loaded = ran.stdout.splitlines()[-1].split()[1:]
    assert set(loaded) <= allowed
