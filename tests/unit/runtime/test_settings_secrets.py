"""Secrets come from the sources that settings name, the current one first, and are never shown."""

from __future__ import annotations

from pathlib import Path

from interlock.runtime.layers import layered
from interlock.runtime.secrets import SourcedSecrets
from interlock.runtime.settings import settings_from

TEXT = '[secrets]\na = "env:A"\n"b.c" = "file:b.secret"\nnone = "env:NONE"\ngone = "file:gone"\n'


def sourced(folder: Path, **environment: str) -> SourcedSecrets:
    return SourcedSecrets(settings_from(folder, layered({"interlock.toml": TEXT}, {}, {})).settings, environment)


def test_a_source_may_hold_several_secrets_the_current_first(tmp_path):
    (tmp_path / "b.secret").write_bytes(b"new\nold\n")
    secrets = sourced(tmp_path, A="current  former")
    assert secrets.active("a") == (b"current", b"former")
    assert secrets.active("b.c") == (b"new", b"old")
    assert secrets.active("unknown") == ()


def test_a_reload_sees_what_changed_and_names_what_is_missing(tmp_path):
    secrets = sourced(tmp_path, A="x")
    assert secrets.active("b.c") == ()
    (tmp_path / "b.secret").write_text("fresh")
    assert secrets.active("b.c") == ()
    assert secrets.reload() == ["none", "gone"]
    assert secrets.active("b.c") == (b"fresh",)


def test_it_shows_no_secret(tmp_path):
    assert "hunter2" not in repr(sourced(tmp_path, A="hunter2"))
