"""Webhooks over HTTP, signed by the libraries of those who send them, or by OpenSSL where a provider has none."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.signature import SignatureVerifier
from standardwebhooks.webhooks import Webhook
from stripe import WebhookSignature
from tests.contract.test_edge_over_http import Site, at_a_site, request
from tests.unit.edge.plane import (
    ACME_SECRET,
    NOW_SECONDS,
    PSP_SECRET,
    SHOPIFY_SECRET,
    SLACK_SECRET,
    STRIPE_SECRET,
)

from interlock.core.event import Draft

NPM_PACKAGE = "standardwebhooks@1.1.1"
SIGN_IN_JAVASCRIPT = """
const { Webhook } = require("standardwebhooks");
const [secret, seconds, deliveries] = JSON.parse(require("fs").readFileSync(0));
const webhook = new Webhook(secret);
const sign = ([id, body]) => webhook.sign(id, new Date(seconds * 1000), body);
process.stdout.write(JSON.stringify(deliveries.map(sign)));
"""

Headers = list[tuple[str, str]]


class Provider(NamedTuple):
    """Who signs, to which path, and a body of theirs whose fact is known as `fact-1`."""

    path: str
    body: str
    sign: Callable[[str], Headers]


def by_stripe(body: str) -> Headers:
    field = WebhookSignature.generate_signature_header(body, STRIPE_SECRET.decode(), timestamp=NOW_SECONDS)
    return [("Stripe-Signature", field)]


def by_slack(body: str) -> Headers:
    at = str(NOW_SECONDS)
    signature = SignatureVerifier(SLACK_SECRET.decode()).generate_signature(timestamp=at, body=body)
    return [("X-Slack-Request-Timestamp", at), ("X-Slack-Signature", str(signature))]


def by_shopify(body: str) -> Headers:
    signature = base64.b64encode(by_openssl("sha256", SHOPIFY_SECRET, body)).decode()
    return [
        ("X-Shopify-Hmac-Sha256", signature),
        ("X-Shopify-Webhook-Id", "fact-1"),
        ("X-Shopify-Topic", "orders/paid"),
    ]


def by_acme(body: str) -> Headers:
    signature = "v1=" + by_openssl("sha512", ACME_SECRET, f"{NOW_SECONDS}.{body}").hex()
    return [("X-Acme-Mac", signature), ("X-Acme-Time", str(NOW_SECONDS)), ("X-Acme-Delivery", "fact-1")]


def by_standard_webhooks(body: str) -> Headers:
    signature = Webhook(PSP_SECRET.decode()).sign("msg_1", datetime.fromtimestamp(NOW_SECONDS, UTC), body)
    return [("Webhook-Id", "msg_1"), ("Webhook-Timestamp", str(NOW_SECONDS)), ("Webhook-Signature", signature)]


def by_openssl(algorithm: str, key: bytes, content: str) -> bytes:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    command = [openssl, "dgst", f"-{algorithm}", "-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}", "-binary"]
    return subprocess.run(command, input=content.encode(), capture_output=True, check=True).stdout


PROVIDERS = {
    "stripe": Provider("/hooks/stripe", '{"id":"fact-1","type":"charge.succeeded","name":"Zoë €"}', by_stripe),
    "slack": Provider("/hooks/slack", '{"type":"event_callback","event_id":"fact-1","text":"Zoë €"}', by_slack),
    "shopify": Provider("/hooks/shopify", '{"id":820982911946154508,"name":"Zoë €"}', by_shopify),
    "acme": Provider("/hooks/acme", '{"name":"Zoë €"}', by_acme),
    "standard": Provider(
        "/hooks/psp", '{"entries":[{"id":"fact-1","account":"Zoë €","amount":1}]}', by_standard_webhooks
    ),
}
EACH = pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS.keys())


async def ids(site: Site) -> list[str]:
    drafts: list[Draft] = await site.drafts()
    return [draft.id for draft in drafts]


@EACH
def test_what_a_providers_library_signs_is_recorded_once_however_often_it_is_sent(provider: Provider):
    async def test(site: Site) -> None:
        signed, body = provider.sign(provider.body), provider.body.encode()
        first, again = [await site.send(provider.path, signed, body) for _ in range(2)]
        assert (first.status, again.status) == (202, 202)
        assert again.json == {**first.json, "duplicate": True}
        assert await ids(site) == ["fact-1"]

    at_a_site(test)


@EACH
def test_one_flipped_byte_of_a_providers_body_or_signature_is_refused_and_leaves_nothing(provider: Provider):
    async def test(site: Site) -> None:
        signed, body = provider.sign(provider.body), provider.body.encode()
        for at in range(len(body)):
            answer = await site.send(provider.path, signed, body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])
            assert (answer.status, answer.json["code"]) == (401, "webhook.signature-refused")
        for place, (name, value) in enumerate(signed):
            if name in {"X-Shopify-Webhook-Id", "X-Shopify-Topic", "X-Acme-Delivery"}:
                continue
            for at in range(len(value)):
                flipped = value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :]
                fields = [*signed[:place], (name, flipped), *signed[place + 1 :]]
                assert (await site.send(provider.path, fields, body)).status == 401
        assert await ids(site) == []

    at_a_site(test)


@EACH
def test_an_unsigned_request_hears_nothing_of_what_is_missing(provider: Provider):
    async def test(site: Site) -> None:
        bare = await site.send(provider.path, [], provider.body.encode())
        assert (bare.status, bare.json["code"]) == (401, "webhook.signature-refused")
        assert not any(word in bare.body.decode().lower() for word in ("missing", "stripe", "slack", "hmac", "field"))

    at_a_site(test)


def test_slacks_challenge_comes_back_and_nothing_is_recorded():
    async def test(site: Site) -> None:
        body = '{"token":"Jhj5dZrVaK7ZwHHjRyZWjbDl","challenge":"3eZbrw1aBm2rZgRNFdxV","type":"url_verification"}'
        answer = await site.send("/hooks/slack", by_slack(body), body.encode())
        assert (answer.status, answer.json) == (200, {"challenge": "3eZbrw1aBm2rZgRNFdxV"})
        unsigned = await site.send("/hooks/slack", [], body.encode())
        assert unsigned.status == 401
        assert await ids(site) == []

    at_a_site(test)


@settings(max_examples=30)
@given(
    name=st.sampled_from(sorted(PROVIDERS)),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 8), st.binary(max_size=8)), min_size=10, max_size=30),
)
def test_whatever_bytes_the_head_of_a_providers_request_holds_no_answer_is_a_5xx(name, changes):
    provider = PROVIDERS[name]
    whole = request(provider.path, provider.sign(provider.body), provider.body.encode())
    head = whole.index(b"\r\n\r\n")

    async def test(site: Site) -> None:
        for place, gone, put in changes:
            at = round(place * head)
            answer = await site.raw(whole[:at] + put + whole[at + gone :])
            assert answer is None or answer.status < 500
        # Some ids stand in fields that nobody signs; what they name is what was signed all the same.
        inboxes = [draft for draft in await site.drafts() if draft.stream.endswith(".inbox")]
        assert {draft.data for draft in inboxes} <= {provider.body.encode()}

    at_a_site(test)


LATIN = st.text(alphabet=st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60)


@settings(max_examples=30)
@given(name=st.sampled_from(sorted(PROVIDERS)), values=st.lists(LATIN, min_size=10, max_size=30))
def test_whatever_a_field_of_a_providers_signature_holds_no_answer_is_a_5xx(name, values):
    provider = PROVIDERS[name]
    signed = provider.sign(provider.body)

    async def test(site: Site) -> None:
        for place, value in enumerate(values):
            fields = [*signed]
            fields[place % len(signed)] = (signed[place % len(signed)][0], value)
            assert (await site.send(provider.path, fields, provider.body.encode())).status in {202, 400, 401}

    at_a_site(test)


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package of npm, installed for this run; where that cannot be, the skip says why."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("npm")
    quietly = ["--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=20000"]
    done = subprocess.run([npm, "install", "--prefix", folder, *quietly, NPM_PACKAGE], capture_output=True, text=True)
    if done.returncode != 0:
        told, _, _ = done.stderr.partition("\n")
        pytest.skip(f"npm cannot install {NPM_PACKAGE}: {told}")
    return folder


def test_what_the_javascript_library_of_standard_webhooks_signs_is_recorded(node_modules: Path):
    bodies = [f'{{"entries":[{{"id":"fact-{n}","account":"{"Zoë €" * n}","amount":{n}}}]}}' for n in range(1, 21)]
    deliveries = [(f"msg_{n}", body) for n, body in enumerate(bodies, 1)]
    sent = json.dumps([PSP_SECRET.decode(), NOW_SECONDS, deliveries])
    done = subprocess.run(
        ["node", "-e", SIGN_IN_JAVASCRIPT], input=sent, cwd=node_modules, capture_output=True, text=True, check=True
    )
    signatures: list[str] = json.loads(done.stdout)
    assert len(signatures) == len(deliveries)

    async def test(site: Site) -> None:
        for (id, body), signature in zip(deliveries, signatures, strict=True):
            fields = [("Webhook-Id", id), ("Webhook-Timestamp", str(NOW_SECONDS)), ("Webhook-Signature", signature)]
            assert (await site.send("/hooks/psp", fields, body.encode())).status == 202
            assert (await site.send("/hooks/psp", fields, body.encode() + b" ")).status == 401
        assert sorted(await ids(site)) == sorted(f"fact-{n}" for n in range(1, 21))

    at_a_site(test)
