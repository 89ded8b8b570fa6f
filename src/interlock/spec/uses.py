"""Which Systems a function can reach, read from its code without running it: what it names, and what its helpers name.

An answer may miss a System that is found at run time only (the engine learns it then); it never invents one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import unwrap
from types import CodeType, FunctionType, ModuleType

from interlock.spec.function import HttpSystem, SqlSystem

_FUNCTIONS_MAX = 200
"""Helpers looked into for one function: its own package's, so this is only met by mistake."""


def systems_used(function: Callable[..., object]) -> tuple[str, ...]:
    """Names of the Systems, sorted."""
    found: set[str] = set()
    root = unwrap(function)
    pending = [root] if isinstance(root, FunctionType) else []
    seen: set[FunctionType] = set(pending)
    while pending and len(seen) <= _FUNCTIONS_MAX:
        for value in _named(pending.pop()):
            helper = unwrap(value) if callable(value) else value
            if isinstance(value, HttpSystem | SqlSystem):
                found.add(value.name)
            elif isinstance(helper, FunctionType) and helper not in seen and _package(helper) == _package(root):
                seen.add(helper)
                pending.append(helper)
    return tuple(sorted(found))


def _named(function: FunctionType) -> Iterator[object]:
    """Values of the globals, of their attributes, and of the closure that the function's code names."""
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    for name in names:
        value = function.__globals__.get(name)
        yield value
        if isinstance(value, ModuleType):
            yield from (vars(value).get(attribute) for attribute in names)
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # A cell that is filled after the function is declared.
            continue


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _package(function: Callable[..., object]) -> str:
    return function.__module__.partition(".")[0]
