"""The public vocabulary is small and cheap to import."""

from __future__ import annotations

import subprocess
import sys

import interlock

HEAVY = [
    "aiohttp",
    "apsw",
    "click",
    "cryptography",
    "httptools",
    "prometheus_client",
    "pydantic",
    "rich",
    "starlette",
    "uvicorn",
]


def test_the_vocabulary_is_at_most_40_names_and_each_is_there():
    assert len(interlock.__all__) == len(set(interlock.__all__)) <= 40
    assert all(hasattr(interlock, name) for name in interlock.__all__)


def test_importing_it_imports_nothing_heavy():
    program = f"import sys, interlock; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONPATH": "src"}
    )
    assert done.stdout.strip() == "[]"
