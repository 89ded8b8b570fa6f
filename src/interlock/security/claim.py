"""What the fields of a request claim about its signature, read by the rules of each scheme. Nothing is believed yet.

Schemes: Standard Webhooks 1.0.0 (https://github.com/standard-webhooks/standard-webhooks), those of GitHub, Stripe,
Slack and Shopify as they document them, and one HMAC in one field. How a webhook names its scheme: `spec.signatures`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, assert_never

from interlock.core import limits
from interlock.core.ports import NotVerified
from interlock.spec.signatures import (
    Algorithm,
    Encoding,
    GitHub,
    HmacSignature,
    Shopify,
    Signed,
    Slack,
    StandardWebhooks,
    Stripe,
)

Headers = Sequence[tuple[str, str]]
Fields = Mapping[str, str]

_PRINTABLE: Final = re.compile(rf"[!-~]{{1,{limits.ID_CHARS_MAX}}}")
_SECONDS: Final = re.compile(r"[0-9]{1,12}")
_DIGEST_BYTES: Final[Mapping[Algorithm, int]] = {"sha256": 32, "sha512": 64, "sha1": 20}
_SIGNATURES_MAX: Final = 16
"""In one field: enough for any rotation, and a bound on the checks that an unsigned request can cost."""


class Claim(NamedTuple):
    """The signatures of a request, any of which may be the right one, and what is signed before and after its body.

    Signatures are kept as the text that came. `sent_at` is in seconds since 1970, None where the scheme signs no time;
    `id` is None where no field has one.
    """

    before: bytes = b""
    after: bytes = b""
    hmacs: Sequence[bytes] = ()
    ed25519: Sequence[bytes] = ()
    sent_at: int | None = None
    id: str | None = None


Read = Callable[[Headers], Claim | NotVerified]


def reader(scheme: Signed) -> Read:
    """What reads the claim of a request of this scheme. It never raises, whatever the fields hold."""
    match scheme:
        case StandardWebhooks():
            return _over({"webhook-id", "webhook-timestamp", "webhook-signature"}, _standard)
        case GitHub():
            return _over({"x-hub-signature-256", "x-github-delivery"}, _github)
        case Stripe():
            return _over({"stripe-signature"}, _stripe)
        case Slack():
            return _over({"x-slack-signature", "x-slack-request-timestamp"}, _slack)
        case Shopify():
            return _over({"x-shopify-hmac-sha256", "x-shopify-webhook-id"}, _shopify)
        case HmacSignature():
            names = (scheme.header, scheme.timestamp_header, scheme.id_header)
            return _over({name.lower() for name in names if name}, _declared(scheme))
        case _:
            assert_never(scheme)


def is_printable(id: str) -> bool:
    """Whether a provider's id can stand in lists and headers: printable ASCII of a sensible length."""
    return _PRINTABLE.fullmatch(id) is not None


def _over(names: set[str], read: Callable[[Fields], Claim | NotVerified]) -> Read:
    """Reads the fields of these names; each may come once, so that no two readers can see different ones."""

    def over(headers: Headers) -> Claim | NotVerified:
        found: dict[str, str] = {}
        for name, value in headers:
            if name in names:
                if name in found:
                    return NotVerified("malformed", f"{name} comes more than once")
                found[name] = value
        return read(found)

    return over


# The schemes.


def _standard(fields: Fields) -> Claim | NotVerified:
    for name in ("webhook-id", "webhook-signature", "webhook-timestamp"):
        if name not in fields:
            return _missing(name)
    id, sent_at = fields["webhook-id"], _seconds("webhook-timestamp", fields["webhook-timestamp"])
    # A full stop in the id could move bytes between the three signed parts.
    if not is_printable(id) or "." in id:
        return NotVerified("malformed", "webhook-id is not printable ASCII without a full stop")
    if isinstance(sent_at, NotVerified):
        return sent_at
    items = _items("webhook-signature", fields["webhook-signature"], " ", ",")
    if isinstance(items, NotVerified):
        return items
    v1, v1a = _of("v1", items), _of("v1a", items)
    if not v1 and not v1a:
        return NotVerified("malformed", "webhook-signature holds neither a v1 nor a v1a signature")
    return Claim(f"{id}.{sent_at}.".encode(), hmacs=v1, ed25519=v1a, sent_at=int(sent_at), id=id)


def _github(fields: Fields) -> Claim | NotVerified:
    signature = _signature("x-hub-signature-256", fields, _HUB)
    id = _id("x-github-delivery", fields)
    if isinstance(signature, NotVerified):
        return signature
    return id if isinstance(id, NotVerified) else Claim(b"", b"", [signature], id=id)


def _stripe(fields: Fields) -> Claim | NotVerified:
    if "stripe-signature" not in fields:
        return _missing("stripe-signature")
    items = _items("stripe-signature", fields["stripe-signature"], ",", "=")
    if isinstance(items, NotVerified):
        return items
    times, v1 = _of("t", items), _of("v1", items)
    sent_at = _seconds("t of stripe-signature", times[0].decode() if len(times) == 1 else "")
    if isinstance(sent_at, NotVerified):
        return sent_at
    if not v1:
        return NotVerified("malformed", "stripe-signature holds no v1 signature")
    return Claim(f"{sent_at}.".encode(), hmacs=v1, sent_at=int(sent_at))


def _slack(fields: Fields) -> Claim | NotVerified:
    signature = _signature("x-slack-signature", fields, _V0)
    if isinstance(signature, NotVerified):
        return signature
    sent_at = _seconds("x-slack-request-timestamp", fields.get("x-slack-request-timestamp"))
    if isinstance(sent_at, NotVerified):
        return sent_at
    return Claim(f"v0:{sent_at}:".encode(), hmacs=[signature], sent_at=int(sent_at))


def _shopify(fields: Fields) -> Claim | NotVerified:
    signature = _signature("x-shopify-hmac-sha256", fields, _BARE)
    id = _id("x-shopify-webhook-id", fields)
    if isinstance(signature, NotVerified):
        return signature
    return id if isinstance(id, NotVerified) else Claim(b"", b"", [signature], id=id)


def _declared(scheme: HmacSignature) -> Callable[[Fields], Claim | NotVerified]:
    header, form = scheme.header.lower(), _form(scheme.prefix, scheme.algorithm, scheme.encoding, either_case=True)
    timestamp_header, id_header = (scheme.timestamp_header or "").lower(), (scheme.id_header or "").lower()
    before, _, after = scheme.content.partition("{body}")

    def read(fields: Fields) -> Claim | NotVerified:
        signature = _signature(header, fields, form)
        if isinstance(signature, NotVerified):
            return signature
        sent_at = _seconds(timestamp_header, fields.get(timestamp_header)) if timestamp_header else ""
        if isinstance(sent_at, NotVerified):
            return sent_at
        id = _id(id_header, fields)
        if isinstance(id, NotVerified):
            return id
        return Claim(
            before.replace("{timestamp}", sent_at).encode(),
            after.replace("{timestamp}", sent_at).encode(),
            hmacs=[signature.lower() if scheme.encoding == "hex" else signature],
            sent_at=int(sent_at) if sent_at else None,
            id=id,
        )

    return read


# Their parts.


class _Form(NamedTuple):
    """How one signature stands in its field."""

    prefix: str
    text: re.Pattern[str]
    told: str


def _form(prefix: str, algorithm: Algorithm, encoding: Encoding, *, either_case: bool = False) -> _Form:
    size = _DIGEST_BYTES[algorithm]
    after = f"{prefix} and " if prefix else ""
    if encoding == "hex":
        digits, told = ("0-9A-Fa-f", "") if either_case else ("0-9a-f", "lower-case ")
        return _Form(prefix, re.compile(f"[{digits}]{{{2 * size}}}"), f"{after}{2 * size} {told}hexadecimal digits")
    full, padding = -(-4 * size // 3), -size % 3 * "="
    return _Form(prefix, re.compile(f"[A-Za-z0-9+/]{{{full}}}{padding}"), f"{after}the base64 of {size} bytes")


_HUB: Final = _form("sha256=", "sha256", "hex")
_V0: Final = _form("v0=", "sha256", "hex")
_BARE: Final = _form("", "sha256", "base64")


def _signature(name: str, fields: Fields, form: _Form) -> bytes | NotVerified:
    field = fields.get(name)
    if field is None:
        return _missing(name)
    if not field.startswith(form.prefix) or not form.text.fullmatch(field, len(form.prefix)):
        return NotVerified("malformed", f"{name} is not {form.told}")
    return field[len(form.prefix) :].encode()


def _seconds(name: str, text: str | None) -> str | NotVerified:
    if text is None:
        return _missing(name)
    return text if _SECONDS.fullmatch(text) else NotVerified("malformed", f"{name} is not a number of seconds")


def _id(name: str, fields: Fields) -> str | NotVerified | None:
    id = fields.get(name)
    if id is None or is_printable(id):
        return id
    return NotVerified("malformed", f"{name} is not printable ASCII of a sensible length")


def _items(name: str, field: str, between: str, within: str) -> list[tuple[str, str]] | NotVerified:
    items = field.split(between, _SIGNATURES_MAX + 1)
    if len(items) > _SIGNATURES_MAX or not field.isascii():
        return NotVerified("malformed", f"{name} is not ASCII with at most {_SIGNATURES_MAX} items")
    parts = [item.partition(within) for item in items]
    return [(version, text) for version, _, text in parts]


def _of(version: str, items: Sequence[tuple[str, str]]) -> list[bytes]:
    return [text.encode() for name, text in items if name == version]


def _missing(name: str) -> NotVerified:
    return NotVerified("missing", f"there is no {name} field")
