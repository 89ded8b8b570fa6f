"""Every setting as a start would use it, and where it comes from: the record of `runtime.settings` told to people.

Pure. No secret is in it: settings hold names of secrets, and what looks like one all the same is hidden.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import msgspec

from interlock.core.redact import redacted_headers, redacted_text
from interlock.runtime.layers import Key
from interlock.runtime.settings import (
    AppSettings,
    ControlSettings,
    DataSettings,
    Settings,
    Span,
    StoreSettings,
    StreamSettings,
    SystemSettings,
)
from interlock.spec.plan import Where
from interlock.spec.references import secret_name
from interlock.spec.span import write_span

DEFAULT = "default"


class Setting(NamedTuple):
    """One setting. `name` is its key as a file has it; `value` as JSON has it, durations as people write them."""

    name: str
    value: Any  # Any: whatever kind of value the setting has.
    origin: str

    @property
    def written(self) -> str:
        """The value as a file would have it."""
        return "none" if self.value is None else json.dumps(self.value, ensure_ascii=False)


def effective(settings: Settings) -> Iterator[Setting]:
    """Every setting in the order of the reference; those of Systems and streams for each that is written down."""
    for name, kind in _SECTIONS.items():
        yield from _section(settings, (name,), kind, getattr(settings, name))
    for name, binding in settings.bindings.systems.items():
        yield from _section(settings, ("systems", name), SystemSettings, binding)
    for name, binding in settings.bindings.streams.items():
        yield from _section(settings, ("streams", name), StreamSettings, binding)
    for name, source in settings.secrets.items():
        yield Setting(_written(("secrets", name)), source, _origin(settings, ("secrets", *name.split("."))))


_SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    "app": AppSettings,
    "store": StoreSettings,
    "data": DataSettings,
    "control": ControlSettings,
}


def _section(settings: Settings, table: Key, kind: type[msgspec.Struct], holder: object) -> Iterator[Setting]:
    for field in msgspec.structs.fields(kind):
        key, value = (*table, field.encode_name), getattr(holder, field.name)
        if isinstance(value, Mapping):
            for name, text in cast("Mapping[str, str]", value).items():  # the only kind that a section has
                yield Setting(_written((*key, name)), _field(name, text), _origin(settings, (*key, *name.split("."))))
        else:
            yield Setting(_written(key), _shown(value, field.type), _origin(settings, key))


def _field(name: str, text: str) -> str:
    """A header field's value; the name of a secret is none."""
    return text if secret_name(text) is not None else redacted_headers([(name, text)])[0][1]


def _shown(value: Any, kind: Any) -> Any:  # Any: as `Setting.value`.
    if kind == Span:
        return write_span(value)
    return redacted_text(value) if isinstance(value, str) else value


def _origin(settings: Settings, key: Key) -> str:
    where = settings.origins.get(key)
    if where is None:
        # A quoted name with dots in it is one key, bare ones with dots between them are several.
        whole = {".".join(at): place for at, place in settings.origins.items()}
        where = whole.get(".".join(key))
    return DEFAULT if where is None else _place(where)


def _place(where: Where) -> str:
    """`file:line`; the name alone for what has no lines, a variable or a flag."""
    return str(where) if where.line else where.file


def _written(key: Key) -> str:
    return ".".join(part if part.replace("_", "").replace("-", "").isalnum() else f'"{part}"' for part in key)
