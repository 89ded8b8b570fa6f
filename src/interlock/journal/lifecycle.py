"""What happens to the record of a subscription when its declaration changes: it is renamed or it is retired."""

from __future__ import annotations

from typing import Protocol

from interlock.core.errors import StoreError


class Lifecycle(Protocol):
    """Each is one commit, refused while a live lease holds one of the subscription's cursors.

    Raises:
        StoreError: `store.subscription-unknown`, `store.subscription-exists`, `store.subscription-held`.
    """

    async def rename_subscription(self, old: str, new: str) -> int:
        """Cursors, rows, marks and attempts go on under the new name; how many cursors."""
        ...

    async def retire_subscription(self, name: str) -> int:
        """Forget the subscription: cursors, rows (dead letters too), marks and attempts; how many cursors."""
        ...


def unknown(name: str) -> StoreError:
    """The refusal for a subscription that the store does not know."""
    return StoreError(
        "store.subscription-unknown",
        f"the store knows no subscription {name!r}",
        "`interlock subscriptions ls` lists those that it knows",
    )


def taken(name: str) -> StoreError:
    """The refusal for a new name that is in use."""
    return StoreError(
        "store.subscription-exists",
        f"the store already knows a subscription {name!r}",
        "choose another name, or retire that one first",
    )


def held(name: str, worker: str) -> StoreError:
    """The refusal while a live lease holds one of the cursors."""
    return StoreError(
        "store.subscription-held",
        f"worker {worker} holds cursors of subscription {name!r}",
        "stop the process that runs it, or wait until its lease has ended",
    )
