"""Which secrets a plan needs, by what it declares and binds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.redact import REDACTED
from interlock.spec.bindings import Bindings
from interlock.spec.check import check
from interlock.spec.declare import Integration
from interlock.spec.plan import HttpBinding, Where
from interlock.spec.references import secret_name, secret_references
from interlock.spec.signatures import github, no_verification


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("secret:erp", "erp"),
        ("Bearer secret:erp.token", "erp.token"),
        ("secret:", ""),
        ("nosecret:erp", None),
        ("application/json", None),
        (REDACTED, None),
    ],
)
def test_a_field_names_a_secret_alone_or_after_a_scheme(value: str, name: str | None) -> None:
    assert secret_name(value) == name


@given(st.text(max_size=40))
def test_no_field_makes_looking_for_a_secret_fail(value: str) -> None:
    assert secret_name(value) is None or "secret:" in value


def integration() -> Integration:
    """Two webhooks, one of them signed, and a System."""
    orders = Integration("orders", owner="team", purpose="Orders arrive")
    orders.http("erp", honours_keys=True)

    @orders.webhook("POST /hooks/signed", verify=github(secret="orders.hook"))
    def signed(_hook):
        return []

    @orders.webhook("POST /hooks/open", verify=no_verification(reason="a test"), dedupe="x-id")
    def unsigned(_hook):
        return []

    return orders


def bound(secrets: frozenset[str]) -> Bindings:
    binding = HttpBinding(url="http://127.0.0.1:1", headers={"Authorization": "Bearer secret:erp.token"})
    place = Where("interlock.toml", 3)
    return Bindings(systems={"orders.erp": binding}, secrets=secrets, places={"systems.orders.erp": place})


def test_webhooks_and_header_fields_are_where_secrets_are_named() -> None:
    found = list(secret_references(integration().webhooks, bound(frozenset())))
    assert [(each.name, each.subject) for each in found] == [
        ("orders.hook", "orders.signed"),
        ("erp.token", "orders.erp"),
    ]


def test_a_secret_after_a_scheme_is_a_name_to_check_as_well() -> None:
    def rules(secrets: frozenset[str]) -> list[tuple[str, str]]:
        return [
            (each.rule, each.subject) for each in check([integration()], bound(secrets)) if each.severity == "error"
        ]

    assert rules(frozenset({"orders.hook", "erp.token"})) == []
    assert rules(frozenset({"orders.hook"})) == [("spec.secret-unknown", "orders.erp")]
