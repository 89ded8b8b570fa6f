"""The rules of `check` about senders of webhooks: how each is known, and what its facts are known by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, get_args

from interlock.spec.findings import Finding, Material
from interlock.spec.plan import WebhookSpec
from interlock.spec.signatures import Algorithm, Encoding, HmacSignature, Unverified

_FIELD: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_PREFIX: Final = re.compile(r"(?:[!-~][ -~]{0,99})?")


def senders(material: Material) -> Iterator[Finding]:
    """A webhook knows its sender, or says why it need not; a fact that comes twice is known by its id."""
    for spec in material.webhooks:
        if isinstance(spec.verify, Unverified) and not spec.verify.reason.strip():
            why, fix = "it accepts from anyone and does not say why", "Say reason= in no_verification."
            yield _error("spec.verification-unsaid", spec, why, fix)
        if isinstance(spec.verify, HmacSignature):
            yield from _signature(spec, spec.verify)
        yield from _dedupe(spec)


def _signature(spec: WebhookSpec, scheme: HmacSignature) -> Iterator[Finding]:
    for why, fix in (*_fields(scheme), *_content(scheme)):
        yield _error("spec.signature-malformed", spec, why, fix)
    if scheme.algorithm == "sha1" and not scheme.sha1_reason.strip():
        yield _error(
            "spec.signature-weak",
            spec,
            "it verifies with SHA-1 and does not say why",
            "Use what else the sender signs with; if there is nothing, say sha1_reason= in hmac_signature.",
        )


def _fields(scheme: HmacSignature) -> Iterator[tuple[str, str]]:
    for what, found, known in (
        ("algorithm", scheme.algorithm, get_args(Algorithm)),
        ("encoding", scheme.encoding, get_args(Encoding)),
    ):
        if found not in known:
            yield f"{what}={found!r} means nothing", f"Say one of {', '.join(known)}."
    headers = [name for name in (scheme.header, scheme.timestamp_header, scheme.id_header) if name is not None]
    for name in headers:
        if not _FIELD.fullmatch(name):
            yield f"{name!r} cannot be the name of a header", "Write it as the sender's documentation does."
    if len({name.lower() for name in headers}) < len(headers):
        yield "one header is named for two things", "Name the header that has each of them."
    if not _PREFIX.fullmatch(scheme.prefix):
        yield "its prefix holds what no header can", "Write what stands before the signature, in printable ASCII."
    if scheme.id_member == "":
        yield "id_member names nothing", "Name the member of the body that has the id."


def _content(scheme: HmacSignature) -> Iterator[tuple[str, str]]:
    content = scheme.content
    literal = content.replace("{body}", "", 1).replace("{timestamp}", "", 1)
    if "{body}" not in content or "{" in literal or "}" in literal:
        fix = 'Say content="{body}", or "{timestamp}.{body}" with what the sender puts between them.'
        yield f"content={content!r} is not one body and at most one timestamp", fix
    if scheme.timestamp_header is None and "{timestamp}" in content:
        yield "a timestamp is signed, and nothing says where it is", "Say timestamp_header=."
    if scheme.timestamp_header is not None and "{timestamp}" not in content:
        why = "its timestamp is not signed, so whoever sends a request again can write another"
        yield why, "Put {timestamp} into content= if the sender signs it; otherwise leave timestamp_header= out."


def _dedupe(spec: WebhookSpec) -> Iterator[Finding]:
    """Schemes of providers know where the id is; elsewhere it is declared."""
    has_id = isinstance(spec.verify, HmacSignature) and (spec.verify.id_header or spec.verify.id_member)
    if spec.dedupe == "none":
        if not spec.dedupe_reason.strip():
            why = "nothing tells a fact that is sent twice from two facts, and it does not say why that is right"
            yield _error("spec.dedupe-unsaid", spec, why, "Say dedupe_reason=.")
    elif isinstance(spec.verify, HmacSignature | Unverified) and not spec.dedupe and not has_id:
        yield _error(
            "spec.dedupe-unsaid",
            spec,
            "it does not say what a delivery is known by, so nothing tells one that is sent twice from two",
            'Say dedupe="HEADER" (or id_member= in hmac_signature), or dedupe="none" with dedupe_reason=.',
        )


def _error(rule: str, spec: WebhookSpec, why: str, fix: str) -> Finding:
    return Finding(rule, "error", spec.name, spec.where, why, fix)
