"""What settings come to, each with its place: defaults, file, overlay, environment and flags. Secrets stay hidden."""

from __future__ import annotations

from pathlib import Path

from interlock.runtime.effective import Setting, effective
from interlock.runtime.layers import layered
from interlock.runtime.settings import settings_from

BASE = """[app]
modules = ["shop"]
[data]
port = 9000
head_timeout = "5s"
[secrets]
"psp.hook" = "env:PSP"
erp = "file:erp.key"
[systems."orders.erp"]
url = "https://user:hunter2@erp.example/v1"
[systems."orders.erp".headers]
authorization = "Bearer hunter2"
accept = "application/json"
x-api-key = "secret:erp"
[streams.orders]
shards = 4
"""
OVERLAY = '[data]\nport = 9001\nhost = "localhost"\n'


def shown(files: dict[str, str], environment: dict[str, str], flags: dict[str, str]) -> dict[str, Setting]:
    """The settings by their names."""
    read = settings_from(Path(), layered(files, environment, flags))
    return {setting.name: setting for setting in effective(read.settings)}


def test_each_setting_says_the_layer_that_won() -> None:
    files = {"interlock.toml": BASE, "interlock.production.toml": OVERLAY}
    found = shown(files, {"INTERLOCK_STORE": "memory:", "INTERLOCK_CONTROL__PORT": "7"}, {"data.port": "0"})
    assert found["data.port"] == ("data.port", 0, "--data.port")
    assert found["data.host"] == ("data.host", "localhost", "interlock.production.toml:3")
    assert found["data.head_timeout"] == ("data.head_timeout", "5s", "interlock.toml:5")
    assert found["data.body_timeout"] == ("data.body_timeout", "30s", "default")
    assert found["store.url"] == ("store.url", "memory:", "$INTERLOCK_STORE")
    assert found["control.port"] == ("control.port", 7, "$INTERLOCK_CONTROL__PORT")
    assert found["app.modules"].written == '["shop"]'
    assert found["data.tls_key"].written == "none"


def test_systems_streams_and_secrets_are_named_as_a_file_names_them() -> None:
    found = shown({"interlock.toml": BASE}, {}, {})
    assert found['systems."orders.erp".deadline'].value == "15s"
    assert found["streams.orders.shards"] == ("streams.orders.shards", 4, "interlock.toml:16")
    assert found['secrets."psp.hook"'] == ('secrets."psp.hook"', "env:PSP", "interlock.toml:7")
    assert found["secrets.erp"].origin == "interlock.toml:8"


def test_what_is_or_looks_like_a_secret_is_never_shown() -> None:
    found = shown({"interlock.toml": BASE}, {"PSP": "hunter2"}, {})
    assert found['systems."orders.erp".headers.authorization'].value == "[redacted]"
    assert found['systems."orders.erp".headers.accept'].origin == "interlock.toml:13"
    assert found['systems."orders.erp".headers.x-api-key'].value == "secret:erp"
    assert "hunter2" not in repr(found)
