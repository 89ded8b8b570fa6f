"""`interlock plan` where no process runs: the declarations alone, or held against the store."""

from __future__ import annotations

import json

import pytest
from tests.unit.cli.project import Project, run_in


@pytest.fixture
def shop(project: Project) -> Project:
    """A fresh project of the largest template, at its own place."""
    project.interlock("init", "shop", "--template", "shop-demo")
    return project


def test_a_project_without_a_store_is_told_on_one_page(shop: Project) -> None:
    told = run_in(shop.folder / "shop", "interlock", "plan")
    assert told.returncode == 0, told.stderr
    for word in ("SYSTEMS (3)", "orders.order_to_erp", "POST /hooks/shop", "shop.order.paid@1", "halt", "5 m"):
        assert word in told.stdout
    assert "there is no store yet" in told.stderr
    assert not (shop.folder / "shop" / ".interlock").exists()


def test_json_has_the_declarations_and_null_for_changes_that_nobody_knows(shop: Project) -> None:
    found = json.loads(run_in(shop.folder / "shop", "interlock", "plan", "-o", "json").stdout)
    assert found["changes"] is None
    assert [row["name"] for row in found["systems"]] == ["orders.erp", "orders.crm", "orders.warehouse"]
    assert found["subscriptions"][0] == {
        "name": "orders.order_to_erp",
        "reads": ["shop.order.paid@1"],
        "into": None,
        "uses": ["orders.erp"],
        "order": "key",
        "on_dead": "halt",
        "freshness": "5 m",
        "start": "beginning",
    }


def test_a_project_that_does_not_pass_check_has_no_plan(project: Project) -> None:
    told = run_in(project.folder, "interlock", "plan")
    assert (told.returncode, told.stdout) == (3, "")
    assert "error[settings.no-modules]" in told.stderr


WIDENED = """
paid_again = orders.event("shop.order.paid", OrderPaid, version=2, key=lambda paid: paid.order)


@orders.upcast(order_paid, into=paid_again)
def same(paid: OrderPaid) -> OrderPaid:
    return paid


@orders.subscribe(paid_again, on_dead="skip", freshness=timedelta(minutes=5))
async def count(event: Event[OrderPaid], context: Context) -> None: ...
"""


def test_upcasters_are_listed_and_what_is_read_through_them_stands_at_the_subscription(shop: Project) -> None:
    folder = shop.folder / "shop"
    with (folder / "orders.py").open("a") as module:
        module.write(WIDENED)
    found = json.loads(run_in(folder, "interlock", "plan", "-o", "json").stdout)
    assert found["upcasters"] == [{"name": "orders.same", "reads": "shop.order.paid@1", "into": "shop.order.paid@2"}]
    reads = {row["name"]: row["reads"] for row in found["subscriptions"]}
    assert reads["orders.count"] == ["shop.order.paid@1", "shop.order.paid@2"]
    assert reads["orders.order_to_erp"] == ["shop.order.paid@1"]
    assert "UPCASTERS (1)" in run_in(folder, "interlock", "plan").stdout
