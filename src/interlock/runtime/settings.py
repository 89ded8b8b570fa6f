"""The settings of one installation: `interlock.toml`, its overlay, the environment and flags, read into one record.

The one module that knows the keys, and with `runtime.load` the only reader of files and environment. Secrets are named
here, never held. Whatever is wrong is a finding with its place; the record then has the default instead.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from interlock.core import limits
from interlock.runtime.layers import Key, Layered, Value, layered
from interlock.spec.bindings import Bindings, StreamBinding
from interlock.spec.bounds import Range, within
from interlock.spec.findings import Finding
from interlock.spec.plan import HttpBinding, Where
from interlock.spec.span import parse_span, write_span

FILE = "interlock.toml"
STORE_URL = "sqlite:///.interlock/interlock.db"

S = TypeVar("S", bound=msgspec.Struct)


Span = Annotated[int, msgspec.Meta(description="a duration in µs, written `30s`, `5m`, `1h30m`")]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file. A field's encoded name is the key that people write."""


class AppSettings(Section, frozen=True):
    """`[app]`: what is run.

    Attributes:
        modules: the modules that declare integrations, as `payments` or `payments:payments`.
    """

    modules: tuple[str, ...] = ()


class StoreSettings(Section, frozen=True):
    """`[store]`: where the log is.

    Attributes:
        url: `sqlite:///` and a path, relative to the project, absolute with one more slash; `memory:` keeps nothing.
    """

    url: str = STORE_URL


class ListenSettings(Section, frozen=True):
    """Where a port listens and who may speak to it; what `[data]` and `[control]` share.

    Attributes:
        host: the address to listen at; anything but loopback wants TLS, of its own or in front.
        port: the first port to try; a busy one moves to the next free one.
        hosts: names that a request may ask for in `Host`; empty for loopback names only.
        tls_certificate, tls_key: PEM files, relative to the project.
        tls_in_front: a proxy before Interlock ends TLS, and nothing else reaches this port.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    hosts: tuple[str, ...] = ()
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_in_front: bool = False


class DataSettings(ListenSettings, frozen=True):
    """`[data]`: the port for webhooks and events, and its limits.

    Attributes:
        header_bytes_max: what the head of a request may take, in bytes.
        header_count_max: how many fields it may have.
        connections_max: how many may be open at once.
        head_timeout_us: how long a head may take, from its first byte on.
        body_timeout_us: how long a body may take.
        keepalive_timeout_us: how long a connection may be idle between two requests.
        drain_timeout_us: how long a stop waits for what is under way.
    """

    header_bytes_max: int = limits.HEADER_BYTES_MAX
    header_count_max: int = limits.HEADER_COUNT_MAX
    connections_max: int = limits.CONNECTIONS_MAX
    head_timeout_us: Span = msgspec.field(default=limits.HEAD_TIMEOUT_US, name="head_timeout")
    body_timeout_us: Span = msgspec.field(default=limits.BODY_TIMEOUT_US, name="body_timeout")
    keepalive_timeout_us: Span = msgspec.field(default=limits.KEEPALIVE_TIMEOUT_US, name="keepalive_timeout")
    drain_timeout_us: Span = msgspec.field(default=limits.DRAIN_TIMEOUT_US, name="drain_timeout")


class ControlSettings(ListenSettings, frozen=True):
    """`[control]`: the port for the admin API, health and metrics."""

    port: int = 8081


class SystemSettings(Section, frozen=True):
    """`[systems."integration.system"]`: how a System is reached.

    Attributes:
        url: where it is; for a database `postgresql://user:secret:NAME@host/database`, or `sqlite:///` and a path.
        deadline_us: how long one call may take, whatever it waits for.
        connect_us: how long a connection to it may take.
        concurrency: how many calls to it may be under way at once.
        rate_per_second: how many calls it gets a second; none for no bound.
        burst: how many of them may come at once after a pause.
        headers: fields that every HTTP call carries; `secret:NAME`, also after a scheme, stands for a secret.
        answer_bytes_max: the largest answer that is read.
    """

    url: str = ""
    deadline_us: Span = msgspec.field(default=limits.CALL_TIMEOUT_US, name="deadline")
    connect_us: Span = msgspec.field(default=limits.CONNECT_TIMEOUT_US, name="connect")
    concurrency: int = limits.SYSTEM_CONCURRENCY_MAX
    rate_per_second: float | None = None
    burst: int = 1
    headers: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    answer_bytes_max: int = limits.ANSWER_BYTES_MAX


class StreamSettings(Section, frozen=True):
    """`[streams.NAME]`: the log of one integration, or of what names it.

    Attributes:
        shards: how many parts it has; recorded when the stream is made, and the same from then on.
        keep_us: how long events are kept; never past what a subscription has yet to read.
        keep_bytes: how much of it is kept, likewise.
    """

    shards: int = limits.SHARDS_DEFAULT
    keep_us: Span = msgspec.field(default=limits.RETENTION_AGE_US, name="keep")
    keep_bytes: int = limits.RETENTION_BYTES


class Settings(msgspec.Struct, frozen=True):
    """Everything that is set. `secrets`: the source of each by its name; `origins`: where each key was set."""

    folder: Path
    app: AppSettings
    store: StoreSettings
    data: DataSettings
    control: ControlSettings
    bindings: Bindings
    secrets: Mapping[str, str]
    origins: Mapping[Key, Where]

    def store_file(self) -> Path | None:
        """The file of a `sqlite:///` store; None for a store in memory."""
        _, separator, path = self.store.url.partition("sqlite:///")
        return self.folder / path if separator else None


class Setup(NamedTuple):
    """Who runs what: the project's folder, the overlay's name (`interlock.NAME.toml`), environment and flags."""

    folder: Path
    overlay: str | None = None
    environment: Mapping[str, str] = {}
    flags: Mapping[str, str] = {}


class Read(NamedTuple):
    """Settings, what is wrong with them, and the text of the files by their paths."""

    settings: Settings
    findings: Sequence[Finding]
    texts: Mapping[str, str]


def process_environment() -> Mapping[str, str]:
    """The environment of this process, for the composition root to hand on."""
    return os.environ  # noqa: TID251  # this is the one place that reads it


def read_settings(setup: Setup) -> Read:
    """Read the files and lay environment and flags over them."""
    names = [FILE] if setup.overlay is None else [FILE, f"interlock.{setup.overlay}.toml"]
    paths = [setup.folder / name for name in names]
    files = {str(path): path.read_text(encoding="utf-8", errors="replace") for path in paths if path.is_file()}
    layers = layered(files, setup.environment, setup.flags)
    return settings_from(setup.folder, layers)


def settings_from(folder: Path, layers: Layered) -> Read:
    """The record of what the layers say. Pure."""
    reader = _Reader(layers)
    systems = {name: reader.section(SystemSettings, ("systems", name)) for name in reader.names("systems")}
    streams = {name: reader.section(StreamSettings, ("streams", name)) for name in reader.names("streams")}
    secrets = reader.secrets()
    settings = Settings(
        folder=folder,
        app=reader.section(AppSettings, ("app",)),
        store=reader.section(StoreSettings, ("store",)),
        data=reader.section(DataSettings, ("data",)),
        control=reader.section(ControlSettings, ("control",)),
        bindings=Bindings(
            systems={name: _binding(folder, section) for name, section in systems.items()},
            streams={name: StreamBinding(**msgspec.structs.asdict(section)) for name, section in streams.items()},
            secrets=frozenset(secrets),
            places=reader.places(),
        ),
        secrets=secrets,
        origins={key: value.where for key, value in layers.values.items()},
    )
    reader.unknown_sections()
    reader.findings.extend(_listening("data", settings.data, reader))
    reader.findings.extend(_listening("control", settings.control, reader))
    reader.findings.extend(_storing(settings.store, reader))
    for name, bound in _DATA_BOUNDS.items():
        key = name.removesuffix("_us")
        value = getattr(settings.data, name)
        reader.findings.extend(within("settings.bound", f"data.{key}", reader.where(("data", key)), key, value, bound))
    return Read(settings, reader.findings, layers.texts)


_TIMEOUT = Range(limits.US_PER_SECOND, limits.US_PER_HOUR, write_span)
_DATA_BOUNDS: Mapping[str, Range] = {
    "header_bytes_max": Range(1024, 1024 * 1024),
    "header_count_max": Range(8, 10_000),
    "connections_max": Range(1, 1_000_000),
    "head_timeout_us": _TIMEOUT,
    "body_timeout_us": _TIMEOUT,
    "keepalive_timeout_us": _TIMEOUT,
    "drain_timeout_us": _TIMEOUT,
}


class _Reader:
    """Takes values out of the layers, one table at a time, and collects what is wrong."""

    def __init__(self, layers: Layered) -> None:
        self.values = layers.values
        self.findings: list[Finding] = list(layers.findings)

    def where(self, key: Key) -> Where:
        """Where a key, or the first of its table, is set; in a file, if any of it is."""
        places = [value.where for name, value in self.values.items() if name[: len(key)] == key]
        return next((place for place in places if place.line), places[0] if places else Where(FILE, 1))

    def names(self, section: str) -> list[str]:
        """The names of the tables in a section: of each key `section.NAME.*`."""
        return list(dict.fromkeys(key[1] for key in self.values if key[0] == section and len(key) > 1))

    def section(self, kind: type[S], table: Key) -> S:
        """One table, value by value, so that each mistake has its own place."""
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        found: dict[str, Any] = {}
        for key, value in self.values.items():
            if key[: len(table)] != table or key == table:
                continue
            field = fields.get(key[len(table)])
            members = () if field is None else getattr(field.type, "__args__", ())
            if field is not None and len(key) == len(table) + 1:
                self._take(found, field.name, key, value, field.type)
            elif field is not None and len(members) == 2:
                self._take(found.setdefault(field.name, {}), ".".join(key[len(table) + 1 :]), key, value, members[1])
            else:
                self._unknown(key, value.where, key[len(table)] if field is None else key[-1], fields)
        return kind(**found)

    def _take(self, found: dict[str, Any], name: str, key: Key, value: Value, kind: Any) -> None:
        try:
            found[name] = _converted(value, kind)
        except ValueError as error:
            self._wrong("settings.value", key, value.where, str(error).replace("`", ""), "Write a value of that kind.")

    def secrets(self) -> dict[str, str]:
        """The sources of secrets by their names; a literal is refused and not repeated."""
        sources: dict[str, str] = {}
        for key, (source, where, _) in self.values.items():
            if key[0] != "secrets":
                continue
            name = ".".join(key[1:])
            if isinstance(source, str) and source.partition(":")[0] in {"env", "file"} and source.partition(":")[2]:
                sources[name] = source
            else:
                fix = f'Put the secret elsewhere, and write "{name}" = "env:NAME" or "file:PATH".'
                self._wrong("settings.secret-literal", key, where, "a secret is named by its source", fix)
        return sources

    def places(self) -> dict[str, Where]:
        """Where each bound System and stream is written."""
        return {
            f"{section}.{name}": self.where((section, name))
            for section in ("systems", "streams")
            for name in self.names(section)
        }

    def unknown_sections(self) -> None:
        """Tables that mean nothing, and values that stand where a table should."""
        for section in dict.fromkeys(key[0] for key in self.values if key[0] not in _SECTIONS):
            self._unknown((section,), self.where((section,)), section, _SECTIONS)
        for key, value in self.values.items():
            depth = 2 if key[0] in {"systems", "streams"} else 1
            if key[0] in _SECTIONS and len(key) <= depth and value.value != {}:
                self._wrong("settings.value", key, value.where, "a table belongs here", f"Write [{'.'.join(key)}].")

    def _unknown(self, key: Key, where: Where, name: str, known: Mapping[str, object]) -> None:
        near = get_close_matches(name, list(known), 1)
        fix = f"Did you mean {near[0]!r}?" if near else f"Remove it; known are {', '.join(known)}."
        self._wrong("settings.unknown-key", key, where, f"no setting is called {name!r}", fix)

    def _wrong(self, rule: str, key: Key, where: Where, why: str, fix: str) -> None:
        self.findings.append(Finding(rule, "error", ".".join(key), where, why, fix))


_SECTIONS: Mapping[str, object] = dict.fromkeys(("app", "store", "data", "control", "systems", "streams", "secrets"))


def _converted(value: Value, kind: Any) -> Any:  # Any: configuration meets its type here.
    given = value.value
    if kind == Span:
        return _span(given)
    if value.is_text and getattr(kind, "__origin__", None) is tuple:
        given = [part.strip() for part in given.split(",") if part.strip()]
    return msgspec.convert(given, kind, strict=not value.is_text)


def _span(given: object) -> int:
    try:
        return parse_span(given if isinstance(given, str) else "")
    except ValueError:
        raise ValueError('Expected a duration as "30s", "5m" or "1h30m"') from None


def _listening(section: str, listen: ListenSettings, reader: _Reader) -> list[Finding]:
    findings: list[Finding] = []

    def wrong(rule: str, key: str, why: str, fix: str) -> None:
        where = reader.where((section, key))
        findings.append(Finding(rule, "error", f"{section}.{key}", where, why, fix))

    if not 0 <= listen.port <= 65_535:
        wrong("settings.bound", "port", "there is no such port", "Choose one from 1 to 65535, or 0 for any.")
    if (listen.tls_certificate is None) != (listen.tls_key is None):
        key = "tls_certificate" if listen.tls_key is None else "tls_key"
        wrong("settings.tls-half", key, "certificate and key go together", "Set both tls_certificate and tls_key.")
    if is_loopback(listen.host):
        return findings
    if listen.tls_certificate is None and not listen.tls_in_front:
        fix = f"Set [{section}] tls_certificate and tls_key; or tls_in_front = true if a proxy before it ends TLS."
        wrong("settings.open-without-tls", "host", f"{listen.host} can be reached from elsewhere, in the clear", fix)
    if not listen.hosts:
        fix = f'Set [{section}] hosts = ["name.example"], the names that it is asked for.'
        wrong("settings.open-without-hosts", "host", f"{listen.host} can be reached from elsewhere, by any name", fix)
    return findings


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address. A name other than `localhost` may mean anything, so it is not."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _binding(folder: Path, section: SystemSettings) -> HttpBinding:
    """A System's binding; the path of a SQLite file is relative to the project, as the store's is."""
    binding = HttpBinding(**msgspec.structs.asdict(section))
    scheme, _, path = binding.url.partition(":///")
    if scheme != "sqlite" or not path:
        return binding
    return msgspec.structs.replace(binding, url=f"sqlite:///{(folder / path).absolute()}")


def _storing(store: StoreSettings, reader: _Reader) -> list[Finding]:
    if store.url == "memory:" or (store.url.startswith("sqlite:///") and len(store.url) > len("sqlite:///")):
        return []
    where, fix = reader.where(("store", "url")), f'Write "{STORE_URL}", or "memory:" to keep nothing.'
    return [Finding("settings.store-unknown", "error", "store.url", where, "no store has such an address", fix)]
