"""When what happens in the story: instants in µs after its beginning, and how the shop's facts go to the Systems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from interlock.core.limits import US_PER_SECOND

RATE: Final = 12
"""Facts that the shop sends a second."""
OUTAGE_FROM_US: Final = 40 * US_PER_SECOND
OUTAGE_TO_US: Final = 80 * US_PER_SECOND
POISON_AT_US: Final = 90 * US_PER_SECOND
ENDS_US: Final = 105 * US_PER_SECOND
"""With nobody watching, the shop closes here."""
STATUS_EVERY_US: Final = 10 * US_PER_SECOND

SYSTEMS: Final[Mapping[str, frozenset[str]]] = {
    "erp": frozenset({"order.paid", "order.cancelled", "refund.created"}),
    "crm": frozenset({"order.paid"}),
    "warehouse": frozenset({"order.paid", "order.cancelled"}),
}
"""Each System, and the kinds of facts that are to reach it."""
POISON_SKU: Final = "S-99"
POISONS: Final = 3
