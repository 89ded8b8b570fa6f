"""The rule of `check` for what a System's declaration says of its answers: the kind of function that each one takes."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import isasyncgenfunction, iscoroutinefunction, unwrap

from interlock.spec.findings import Finding, Material


def answers(material: Material) -> Iterator[Finding]:
    """`success_when` looks at an answer and decides at once; `refresh` makes a call, and waits for it."""
    for system in material.systems:
        judge, refresh = system.success_when, system.refresh
        if judge is not None and (iscoroutinefunction(unwrap(judge)) or isasyncgenfunction(unwrap(judge))):
            why = "its success_when is async, and what it gives would be taken for no verdict"
            fix = (
                "Write it with def: a pure function of the answer. What needs another call belongs in the subscription."
            )
            yield Finding("spec.success-when-async", "error", system.name, system.where, why, fix)
        if refresh is not None and not iscoroutinefunction(unwrap(refresh)):
            why = "its refresh is not async, and it could not wait for the call that it makes"
            fix = "Write it as async def refresh(context: Context) -> str, and call with await context.use(...)."
            yield Finding("spec.refresh-not-async", "error", system.name, system.where, why, fix)
