"""What a deploy would change, and what of it has to be decided first."""

from __future__ import annotations

from dataclasses import dataclass

from interlock.spec.bindings import Bindings
from interlock.spec.check import planned
from interlock.spec.declare import Integration
from interlock.spec.deploy import Change, changes, known_of, remembered, renamed
from interlock.spec.plan import Plan


@dataclass
class Paid:
    order: str


@dataclass
class Reshaped:
    order: str
    cents: int


def plan(*subscriptions: str, model: type = Paid, system: str = "books") -> Plan:
    """A plan with these subscriptions."""
    orders = Integration("orders", owner="team", purpose="Orders arrive")
    orders.http(system, honours_keys=True)
    paid = orders.event("order.paid", model, version=1, key=lambda it: it.order)
    for name in subscriptions:

        async def book(event, context) -> None: ...

        book.__name__ = book.__qualname__ = name
        orders.subscribe(paid)(book)
    return planned([orders], Bindings())


def test_the_same_plan_changes_nothing():
    assert changes(known_of(plan("book")), plan("book")) == []


def test_a_subscription_that_is_gone_has_to_be_renamed_or_retired_and_the_only_new_one_is_proposed():
    found = changes(known_of(plan("book")), plan("post"))
    remedy = "`interlock subscriptions rename orders.book orders.post` or `interlock subscriptions retire orders.book`"
    assert found == [
        Change("gone", "subscription", "orders.book", remedy),
        Change("new", "subscription", "orders.post"),
    ]


def test_no_name_is_proposed_where_several_are_new():
    found = changes(known_of(plan("book")), plan("post", "file"))
    assert "rename orders.book NEW" in (found[0].remedy or "")


def test_a_changed_shape_needs_a_version_and_blocks():
    [change] = changes(known_of(plan("book")), plan("book", model=Reshaped))
    assert (str(change), change.remedy) == (
        "event type order.paid@1 in another shape",
        "give order.paid@1 a new version",
    )


def test_systems_come_and_go_without_a_decision():
    found = changes(known_of(plan("book")), plan("book", system="ledger"))
    assert [(change.what, change.name, change.remedy) for change in found] == [
        ("new", "orders.ledger", None),
        ("gone", "orders.books", None),
    ]


def test_a_renamed_subscription_keys_its_calls_under_its_first_name_for_ever():
    known = renamed(known_of(plan("book")), "orders.book", "orders.post")
    assert (known.subscriptions, known.first_names) == ({"orders.post"}, {"orders.post": "orders.book"})
    known = renamed(remembered(known, plan("post")), "orders.post", "orders.file")
    assert known.first_names == {"orders.file": "orders.book"}
    assert renamed(known, "orders.file", "orders.book").first_names == {}


def test_a_new_subscription_under_a_name_that_was_given_up_never_shares_keys_with_the_renamed_one():
    known = renamed(known_of(plan("book")), "orders.book", "orders.post")
    known = remembered(known, plan("post", "book"))
    assert known.first_names == {"orders.post": "orders.book", "orders.book": "orders.book#2"}
    assert remembered(known, plan("post", "book")) == known, "it is decided once"


def test_a_retired_subscription_is_forgotten_with_its_first_name():
    known = renamed(renamed(known_of(plan("book")), "orders.book", "orders.post"), "orders.post", None)
    assert (known.subscriptions, known.first_names) == (frozenset(), {})
