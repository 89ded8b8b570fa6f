"""The demo's decisions: what the shop sends, how the systems answer, what the books make of it."""

from __future__ import annotations

import json
from collections import Counter
from itertools import takewhile

import pytest

from interlock.cli.demo.books import EVENT_TYPES, Account, Seen, Told, account, broken, total
from interlock.cli.demo.scenes import ENDS_US, OUTAGE_FROM_US, OUTAGE_TO_US, POISON_SKU, SYSTEMS
from interlock.cli.demo.shop import Fact, facts
from interlock.cli.demo.systems import Call, Entry, System, crm, erp, warehouse

PAID = Fact(0, "order.paid", "o-1", "S-10")
REFUNDED = Fact(1, "refund.created", "o-1", "S-10")


def story(seed: int) -> list[Fact]:
    return list(takewhile(lambda fact: fact.at_us < ENDS_US, facts(seed)))


def entry(fact: Fact) -> Entry:
    return Entry(EVENT_TYPES[fact.kind], fact.order, fact.sku)


def seen(*taken: Fact, accepted: tuple[Fact, ...] = (PAID, REFUNDED), unsettled: int = 0) -> Seen:
    """Of the given facts each System took its own; the engine says that it delivered all that were accepted."""
    at = {name: [entry(fact) for fact in taken if fact.kind in kinds] for name, kinds in SYSTEMS.items()}
    delivered = {name: sum(fact.kind in kinds for fact in accepted) for name, kinds in SYSTEMS.items()}
    return Seen(accepted, at, {name: Told(count, unsettled, ()) for name, count in delivered.items()}, True)


def test_the_same_seed_sends_the_same_facts_and_another_one_does_not() -> None:
    assert story(7) == story(7)
    assert story(7) != story(8)


@pytest.mark.parametrize("seed", range(20))
def test_every_story_has_duplicates_refunds_before_payments_and_three_poison_orders(seed: int) -> None:
    sent = story(seed)
    times = Counter(fact.id for fact in sent)
    place = {fact.id: number for number, fact in reversed(list(enumerate(sent)))}
    early = [
        fact.order
        for fact in sent
        if fact.kind == "refund.created" and place[fact.id] < place[fact._replace(kind="order.paid").id]
    ]
    assert 1 <= sum(count > 1 for count in times.values()) <= 40
    assert max(times.values()) == 2
    assert early
    assert len({fact.id for fact in sent if fact.sku == POISON_SKU}) == 3
    assert {json.loads(fact.body(seed))["id"] for fact in sent} == set(times)


def test_the_erp_is_ailing_then_down_then_well() -> None:
    def refused(at_us: int) -> int:
        return sum(erp(7, Call(Entry("t", f"o-{n}"), 0, at_us, 1)).status == 503 for n in range(1_000))

    assert 100 < refused(0) < 200
    assert refused(OUTAGE_FROM_US) == refused(OUTAGE_TO_US - 1) == 1_000
    assert refused(OUTAGE_TO_US) == 0


def test_the_crm_takes_ten_calls_a_second_and_the_warehouse_no_sku_of_the_nineties() -> None:
    assert [crm(7, Call(Entry("t", "o-1"), 0, 0, count)).status for count in (1, 10, 11)] == [201, 201, 429]
    answers = [warehouse(7, Call(Entry("t", "o-1", sku), 0, 0, 1)) for sku in ("S-10", "S-99")]
    assert [(each.status, each.error) for each in answers] == [(201, ""), (422, "unknown sku S-99")]


def test_a_system_answers_a_key_that_it_knows_and_does_nothing() -> None:
    system = System("crm", 7)
    assert [system.receive("k-1", entry(PAID), 0).status for _ in range(2)] == [201, 200]
    assert system.taken == [entry(PAID)]
    assert system.repeated == 1


def test_the_books_of_a_story_without_a_loss_hold_every_promise() -> None:
    found = seen(PAID, REFUNDED)
    assert str(total(found)) == "2 accepted = 2 delivered + 0 dead + 0 lost"
    assert list(broken(found)) == []


def test_what_a_system_has_not_taken_is_lost_even_if_the_engine_says_that_it_delivered() -> None:
    found = seen(PAID)
    assert account(found, "erp") == Account(2, 1, 0, 0, 1)
    assert total(found) == Account(2, 1, 0, 0, 1)
    assert "nothing is lost on the way to erp" in list(broken(found))


def test_what_is_missing_waits_as_far_as_the_engine_says_so() -> None:
    found = seen(accepted=(PAID, REFUNDED), unsettled=1)
    assert account(found, "erp") == Account(2, 0, 0, 1, 1)
    assert str(account(found, "crm")) == "1 accepted = 0 delivered + 0 dead + 1 waiting + 0 lost"


def test_what_is_done_twice_or_overtaken_breaks_a_promise() -> None:
    assert "erp does nothing twice" in list(broken(seen(PAID, REFUNDED, REFUNDED)))
    overtaken = "erp has what is about an order in the order of its acceptance"
    assert overtaken in list(broken(seen(REFUNDED, PAID)))


def test_what_one_system_could_not_take_is_dead_for_the_shop() -> None:
    found = seen(PAID, REFUNDED)
    dead = [(EVENT_TYPES["order.paid"], "o-1")]
    found = found._replace(taken={**found.taken, "warehouse": []}, told={**found.told, "warehouse": Told(0, 0, dead)})
    assert account(found, "warehouse") == Account(1, 0, 1, 0, 0)
    assert total(found) == Account(2, 1, 1, 0, 0)
    assert list(broken(found)) == []


def test_webhooks_that_are_refused_to_the_end_are_no_success() -> None:
    found = seen(PAID, REFUNDED)._replace(refused=2)
    assert "every signed webhook is accepted in the end (2 never were)" in list(broken(found))
