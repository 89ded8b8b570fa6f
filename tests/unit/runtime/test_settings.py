"""Settings: files, environment and flags over each other; every mistake with its place and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.runtime.layers import key_lines, layered
from interlock.runtime.settings import DataSettings, Read, Setup, is_loopback, read_settings, settings_from
from interlock.spec.bindings import StreamBinding
from interlock.spec.plan import HttpBinding, Where

FOLDER = Path("/project")


def read(text: str = "", overlay: str | None = None, environment=None, flags=None) -> Read:
    files = {"interlock.toml": text}
    if overlay is not None:
        files["interlock.live.toml"] = overlay
    return settings_from(FOLDER, layered(files, environment or {}, flags or {}))


def only(text: str, **layers) -> tuple[str, str, int]:
    (finding,) = read(text, **layers).findings
    assert finding.severity == "error"
    assert finding.fix
    return finding.rule, finding.subject, finding.where.line


def test_nothing_set_is_the_defaults():
    settings, findings, _ = read()
    assert findings == []
    assert (settings.data.host, settings.data.port, settings.control.port) == ("127.0.0.1", 8080, 8081)
    assert settings.data == DataSettings()
    assert settings.store_file() == FOLDER / ".interlock/interlock.db"


def test_every_table_is_read():
    settings, findings, _ = read("""
[app]
modules = ["payments:payments", "orders"]
[store]
url = "sqlite:////var/lib/interlock/log.db"
[data]
port = 9000
head_timeout = "5s"
[systems."payments.ledger"]
url = "https://ledger.example/v1"
deadline = "20s"
connect = "500ms"
concurrency = 8
rate_per_second = 5
burst = 10
answer_bytes_max = 1024
headers = { authorization = "secret:ledger", x-tenant = "a" }
[streams.payments]
shards = 4
keep = "90d"
[secrets]
ledger = "env:LEDGER"
"psp.webhook" = "file:psp.secret"
""")
    assert findings == []
    assert settings.app.modules == ("payments:payments", "orders")
    assert settings.store_file() == Path("/var/lib/interlock/log.db")
    assert (settings.data.port, settings.data.head_timeout_us) == (9000, 5_000_000)
    assert settings.bindings.systems == {
        "payments.ledger": HttpBinding(
            url="https://ledger.example/v1",
            deadline_us=20_000_000,
            connect_us=500_000,
            concurrency=8,
            rate_per_second=5.0,
            burst=10,
            headers={"authorization": "secret:ledger", "x-tenant": "a"},
            answer_bytes_max=1024,
        )
    }
    assert settings.bindings.streams == {"payments": StreamBinding(4, 90 * 86_400_000_000)}
    assert settings.secrets == {"ledger": "env:LEDGER", "psp.webhook": "file:psp.secret"}
    assert settings.bindings.secrets == {"ledger", "psp.webhook"}
    assert settings.bindings.places["systems.payments.ledger"] == Where("interlock.toml", 10)


def test_the_file_of_a_database_is_relative_to_the_project():
    settings, findings, _ = read("""
[systems."payments.ledger"]
url = "sqlite:///ledger.db"
[systems."payments.books"]
url = "sqlite:////var/lib/books.db"
""")
    assert findings == []
    there = settings.bindings.systems
    assert there["payments.ledger"].url == f"sqlite:///{(settings.folder / 'ledger.db').absolute()}"
    assert there["payments.books"].url == "sqlite:////var/lib/books.db"


def test_later_layers_win_key_by_key_and_each_value_keeps_its_origin():
    settings, findings, _ = read(
        '[data]\nport = 1\nhosts = ["a.example", "b.example"]\nconnections_max = 7\n[control]\nport = 2\n',
        overlay='[data]\nport = 3\nhosts = ["c.example"]\n',
        environment={"INTERLOCK_CONTROL__PORT": "4", "INTERLOCK_STORE": "memory:"},
        flags={"control.port": "5"},
    )
    assert findings == []
    assert (settings.data.port, settings.data.hosts, settings.data.connections_max) == (3, ("c.example",), 7)
    assert (settings.control.port, settings.store.url, settings.store_file()) == (5, "memory:", None)
    assert settings.origins[("data", "port")] == Where("interlock.live.toml", 2)
    assert settings.origins[("data", "connections_max")] == Where("interlock.toml", 4)
    assert settings.origins[("store", "url")].file == "$INTERLOCK_STORE"
    assert settings.origins[("control", "port")].file == "--control.port"


def test_the_environment_gives_text_that_is_read_as_what_it_should_be():
    settings, findings, _ = read(
        '[systems."payments.ledger"]\nurl = "https://a.example"\n',
        environment={
            "INTERLOCK_DATA__HOSTS": "a.example, b.example",
            "INTERLOCK_DATA__TLS_IN_FRONT": "true",
            "INTERLOCK_DATA__HEAD_TIMEOUT": "7s",
            "INTERLOCK_SYSTEMS__PAYMENTS_LEDGER__RATE_PER_SECOND": "2.5",
            "INTERLOCK_TOKEN": "is not a setting",
            "PATH": "/bin",
        },
    )
    assert findings == []
    assert (settings.data.hosts, settings.data.tls_in_front) == (("a.example", "b.example"), True)
    assert settings.data.head_timeout_us == 7_000_000
    assert settings.bindings.systems["payments.ledger"].rate_per_second == 2.5


@pytest.mark.parametrize("number", ["9_000", " 9", "+9", "٩", "0x9", "9" * 5_000, ""])
def test_text_that_only_python_takes_for_a_number_is_refused(number):
    assert only("", environment={"INTERLOCK_DATA__PORT": number})[0] in {"settings.value", "settings.bound"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[data]\n\nprot = 1\n", ("settings.unknown-key", "data.prot", 3)),
        ("[dat]\nport = 1\n", ("settings.unknown-key", "dat", 2)),
        ("data.port.x = 1\n", ("settings.unknown-key", "data.port.x", 1)),
        ("[data]\nport = '1'\n", ("settings.value", "data.port", 2)),
        ("[data]\nport = true\n", ("settings.value", "data.port", 2)),
        ("[data]\nhead_timeout = 5\n", ("settings.value", "data.head_timeout", 2)),
        ("[data]\nhead_timeout = '5 parsecs'\n", ("settings.value", "data.head_timeout", 2)),
        ("data = 1\n", ("settings.value", "data", 1)),
        ("systems.a = 1\n", ("settings.value", "systems.a", 1)),
        ("[app]\nmodules = 'a'\n", ("settings.value", "app.modules", 2)),
        ("[data]\nport = 70000\n", ("settings.bound", "data.port", 2)),
        ("[data]\nheader_bytes_max = 1\n", ("settings.bound", "data.header_bytes_max", 2)),
        ("[data]\nhead_timeout = '1d'\n", ("settings.bound", "data.head_timeout", 2)),
        ("[store]\nurl = 'mysql://a'\n", ("settings.store-unknown", "store.url", 2)),
        ("[store]\nurl = 'sqlite:///'\n", ("settings.store-unknown", "store.url", 2)),
        ("[data]\n\nport =\n", ("settings.not-toml", "interlock.toml", 3)),
        ("[data]\nport = 1\nport = 2\n", ("settings.not-toml", "interlock.toml", 3)),
        ("a = " + "[" * 5_000 + "]" * 5_000, ("settings.not-toml", "interlock.toml", 1)),
        ("[secrets]\na = 'hunter2'\n", ("settings.secret-literal", "secrets.a", 2)),
        ("[secrets]\na = 'env:'\n", ("settings.secret-literal", "secrets.a", 2)),
        ("[secrets]\na = 7\n", ("settings.secret-literal", "secrets.a", 2)),
        ("[data]\ntls_key = 'k.pem'\n", ("settings.tls-half", "data.tls_key", 2)),
    ],
)
def test_a_mistake_is_told_with_its_key_and_line(text, told):
    assert only(text) == told


def test_an_unknown_key_is_told_the_nearest_one():
    (finding,) = read("[data]\nconections_max = 1\n").findings
    assert finding.fix == "Did you mean 'connections_max'?"


def test_every_mistake_is_told_at_once():
    assert len(read("[data]\nport = 'x'\nprot = 1\nhead_timeout = 1\n[foo]\na = 1\n").findings) == 4


def test_a_literal_secret_is_not_repeated():
    assert "hunter2" not in str(read("[secrets]\na = 'hunter2'\n").findings)


def test_a_port_that_others_can_reach_needs_tls_and_names():
    def rules(text):
        return [finding.rule for finding in read(text).findings]

    without_tls, without_hosts = "settings.open-without-tls", "settings.open-without-hosts"
    for section in ("data", "control"):
        open_port = f"[{section}]\nhost = '0.0.0.0'\n"
        assert rules(open_port) == [without_tls, without_hosts]
        assert rules(open_port + "tls_in_front = true\n") == [without_hosts]
        assert rules(open_port + "hosts = ['a.example']\n") == [without_tls]
        assert rules(open_port + "hosts = ['a.example']\ntls_certificate = 'c'\ntls_key = 'k'\n") == []


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "", "10.0.0.1", "localhost.example", "127.1", "example.com")],
)
def test_only_addresses_of_this_machine_are_loopback(host, loopback):
    assert is_loopback(host) is loopback


def test_files_of_a_folder_are_read_with_their_overlay(tmp_path):
    (tmp_path / "interlock.toml").write_text("[data]\nport = 1\n")
    (tmp_path / "interlock.dev.toml").write_text("[data]\nport = 2\n")
    assert read_settings(Setup(tmp_path)).settings.data.port == 1
    assert read_settings(Setup(tmp_path, "dev")).settings.data.port == 2
    assert read_settings(Setup(tmp_path, "live")).settings.data.port == 1
    assert read_settings(Setup(tmp_path / "nowhere")).findings == []


def test_a_file_that_is_not_utf8_is_a_finding(tmp_path):
    (tmp_path / "interlock.toml").write_bytes(b"[data]\nport = \xff\n")
    (finding,) = read_settings(Setup(tmp_path)).findings
    assert finding.rule == "settings.not-toml"


def test_lines_of_keys_are_found_in_every_spelling():
    lines = key_lines('a = 1\n[b."c.d"]\n  e . "f" = 2 # x\n# g = 3\n[[h]]\n[b.i]\nj = """\n"""\n')
    assert lines == {("a",): 1, ("b", "c.d"): 2, ("b", "c.d", "e", "f"): 3, ("b", "i"): 6, ("b", "i", "j"): 7}


TOML_TEXT = st.text(alphabet="[]{}=\"'.,#ab1 \n", max_size=60) | st.text(max_size=40)


@given(
    TOML_TEXT,
    st.dictionaries(st.from_regex(r"INTERLOCK_[A-Z_]{0,20}", fullmatch=True), st.text(max_size=10), max_size=3),
)
def test_any_text_gives_settings_and_findings(text, environment):
    settings, findings, _ = read(text, environment=environment)
    assert settings.data.connections_max > 0
    assert all(finding.fix for finding in findings)


KEYS = ["port", "head_timeout", "hosts", "tls_in_front", "nonsense"]
TEXT_VALUES = st.sampled_from(["", "1", "x", "5s", "true", "a,b", "-1", "1e9", "[]", "\x00", "9" * 400]) | st.text(
    max_size=8
)


@given(st.dictionaries(st.sampled_from(KEYS), TEXT_VALUES))
def test_any_environment_gives_settings_and_findings(values):
    settings, findings, _ = read(environment={f"INTERLOCK_DATA__{key.upper()}": text for key, text in values.items()})
    wrong = {finding.subject for finding in findings}
    assert ("data.nonsense" in wrong) == ("nonsense" in values)
    if "data.port" not in wrong:
        assert 0 <= settings.data.port <= 65_535
