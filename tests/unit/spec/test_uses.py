"""The Systems of a function are read from its code."""

from __future__ import annotations

from types import ModuleType

from interlock.spec.declare import Integration
from interlock.spec.uses import systems_used

shop = Integration("shop", owner="o", purpose="p")
ledger = shop.http("ledger")
chat = shop.http("chat")
systems = ModuleType("systems")
systems.erp = shop.http("erp")


async def by_name(event, context):
    await context.use(ledger).post("/")


async def by_module(event, context):
    await context.use(systems.erp).post("/")


async def by_helper(event, context):
    await tell(context)
    await by_helper(event, context)


async def tell(context):
    return [await context.use(place).post("/") for place in [chat]]


async def by_nothing(event, context):
    return "ledger"


def test_a_system_is_found_by_name_module_and_helper():
    assert systems_used(by_name) == ("shop.ledger",)
    assert systems_used(by_module) == ("shop.erp",)
    assert systems_used(by_helper) == ("shop.chat",)
    assert systems_used(by_nothing) == ()


def test_a_system_is_found_in_a_closure_that_is_filled_later():
    async def book(event, context):
        await context.use(place).post("/")

    assert systems_used(book) == ()
    place = chat
    assert systems_used(book) == ("shop.chat",)


def test_what_is_no_python_function_uses_nothing():
    assert systems_used(print) == ()
