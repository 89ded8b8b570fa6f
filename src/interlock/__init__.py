"""Interlock joins systems: webhooks, events, polls and calls on one durable log. This is its public vocabulary."""

from interlock.call.effect import CallFailed, CallLabelMissing
from interlock.core.errors import InterlockError, RequestError, SpecError
from interlock.core.event import Draft
from interlock.core.outcome import Answer, Done, Later, Outcome, Reject, Unavailable, Unknown
from interlock.spec.declare import EventType, Integration
from interlock.spec.function import Client, Context, Event, Hook, HttpSystem, SqlSystem, Transaction
from interlock.spec.jsontext import PayloadError
from interlock.spec.plan import OnDead, Page, RetryPolicy
from interlock.spec.retry import INTERACTIVE, PATIENT, WEBHOOK, block_then_skip
from interlock.spec.signatures import (
    github,
    hmac_signature,
    no_verification,
    shopify,
    slack,
    standard_webhooks,
    stripe,
)

__all__ = [
    "INTERACTIVE",
    "PATIENT",
    "WEBHOOK",
    "Answer",
    "CallFailed",
    "CallLabelMissing",
    "Client",
    "Context",
    "Done",
    "Draft",
    "Event",
    "EventType",
    "Hook",
    "HttpSystem",
    "Integration",
    "InterlockError",
    "Later",
    "OnDead",
    "Outcome",
    "Page",
    "PayloadError",
    "Reject",
    "RequestError",
    "RetryPolicy",
    "SpecError",
    "SqlSystem",
    "Transaction",
    "Unavailable",
    "Unknown",
    "block_then_skip",
    "github",
    "hmac_signature",
    "no_verification",
    "shopify",
    "slack",
    "standard_webhooks",
    "stripe",
]
