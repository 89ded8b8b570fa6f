"""Secrets that stand in text where only their names should: Python source, configuration, bound headers.

It looks for the marks that issuers give their secrets, and for random-looking text beside a telling name. What is
found is named by kind and place, never shown.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from math import log2
from typing import NamedTuple

from interlock.core.redact import is_secret_name

_MARKS = {
    "a webhook signing secret": r"wh(?:sec|sk)_[A-Za-z0-9+/=]{16,}",
    "a payment provider's key": r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{10,}",
    "a GitHub token": r"\b(?:gh[opsur]_[A-Za-z0-9]{20,}|github_pat_\w{20,})",
    "a GitLab token": r"\bglpat-[\w-]{16,}",
    "a Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "an AWS key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a Google key": r"\bAIza[\w-]{30,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a signed token": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.",
    "a bearer token": r"\b[Bb]earer +[\w.~+/-]{12,}",
    "a password of basic authentication": r"\bBasic +[A-Za-z0-9+/]{8,}={0,2}",
    "a password in an address": r"://[^/\s:@]*:[^/\s:@]+@",
}
_MARK = {kind: re.compile(pattern) for kind, pattern in _MARKS.items()}
_ASSIGNED = re.compile(r"""(?P<name>[\w.-]+)["']?\s*[=:]\s*["'](?P<value>[^"']*)["']""")
_REFERENCE = re.compile(r"(?:secret|env|file):.*|[a-z][a-z0-9_-]*(?:\.[a-z][a-z0-9_-]*)+")
"""A source, or a name with dots as secrets have here."""
_RANDOM_CHARS_MIN = 16
_RANDOM_BITS_MIN = 3.0
"""Entropy of one character, in bits: in so short a text words have less, random hexadecimal digits nearly 4."""


class Literal(NamedTuple):
    """A secret in text: which line it is on, and what it looks like."""

    line: int
    kind: str


def secret_in(value: str, *, name: str = "") -> str | None:
    """What kind of secret a value looks like, given the name that it stands beside; None if it does not."""
    for kind, mark in _MARK.items():
        if mark.search(value):
            return kind
    return "a secret" if is_secret_name(name) and _looks_random(value) else None


def secrets_in_text(file: str, text: str) -> Iterator[Literal]:
    """Secrets in Python source, by its string constants, or in any other text, by its lines."""
    if not file.endswith(".py"):
        yield from _in_lines(text)
        return
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        yield from _in_lines(text)
        return
    named = dict(_named_constants(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            kind = secret_in(node.value, name=named.get(node, ""))
            if kind:
                yield Literal(node.lineno, kind)


def _named_constants(tree: ast.AST) -> Iterator[tuple[ast.Constant, str]]:
    """Constants that an assignment, a keyword argument or a dict display gives a name."""
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg=str(name), value=ast.Constant() as constant):
                yield constant, name
            case ast.Assign(targets=[ast.Name(id=name) | ast.Attribute(attr=name)], value=ast.Constant() as constant):
                yield constant, name
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant() as constant):
                yield constant, name
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(value, ast.Constant):
                        yield value, str(key.value)
            case _:
                continue


def _in_lines(text: str) -> Iterator[Literal]:
    for number, line in enumerate(text.splitlines(), start=1):
        assigned = _ASSIGNED.search(line)
        kind = secret_in(line) or (assigned and secret_in(assigned["value"], name=assigned["name"]))
        if kind:
            yield Literal(number, kind)


def _looks_random(value: str) -> bool:
    if len(value) < _RANDOM_CHARS_MIN or " " in value or "://" in value or _REFERENCE.fullmatch(value):
        return False
    counts = Counter(value).values()
    bits = -sum(count / len(value) * log2(count / len(value)) for count in counts)
    return bits >= _RANDOM_BITS_MIN and any(char.isdigit() for char in value)
