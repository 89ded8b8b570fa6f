"""Where declarations and bindings name secrets: in a webhook's scheme, in a System's header fields and address.

A field's value is `secret:NAME`, or that after a scheme, as `Bearer secret:NAME`; in an address it is the password.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from interlock.spec.bindings import Bindings
from interlock.spec.database import url_secret
from interlock.spec.plan import WebhookSpec, Where
from interlock.spec.signatures import Signed

_MARK: Final = "secret:"


class SecretReference(NamedTuple):
    """A secret's name, what needs it, and where that is written."""

    name: str
    subject: str
    where: Where


def secret_references(webhooks: Iterable[WebhookSpec], bindings: Bindings) -> Iterator[SecretReference]:
    """Every secret that is needed, once for each that needs it."""
    for webhook in webhooks:
        if isinstance(webhook.verify, Signed):
            yield SecretReference(webhook.verify.secret, webhook.name, webhook.where)
    for system, binding in bindings.systems.items():
        for name in (*map(secret_name, binding.headers.values()), url_secret(binding.url)):
            if name is not None:
                yield SecretReference(name, system, bindings.place(f"systems.{system}"))


def secret_name(value: str) -> str | None:
    """The name of the secret that a field's value stands for; None for a value that is meant as it is."""
    scheme, mark, name = value.rpartition(_MARK)
    return name if mark and (not scheme or scheme.endswith(" ")) else None
