"""Rates, as people state them on the command line."""

from __future__ import annotations

from typing import Any, Final

import click

_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


class Percent(click.ParamType[float]):
    """`10%`: a share."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        if isinstance(value, float):
            return value
        text = str(value).removesuffix("%").strip()
        if not (text.isascii() and text.replace(".", "", 1).isdigit() and float(text) < 100):
            self.fail(f"{value!r} is no share: write 10%", param, ctx)
        return float(text)


class Rate(click.ParamType[float]):
    """`20/s`, `30/m`, `100/h`: events a second."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        if isinstance(value, float):
            return value
        count, _, unit = str(value).partition("/")
        if not (count.isascii() and count.isdigit() and int(count) and unit in _UNITS):
            self.fail(f"{value!r} is no rate: write 20/s, 30/m or 100/h", param, ctx)
        return int(count) / _UNITS[unit]
