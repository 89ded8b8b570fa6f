"""Payloads above 64 KiB, from a webhook to the dead letters: nobody but the store knows that they are in files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass

from interlock.core.event import Claim, Draft
from interlock.core.limits import BODY_INLINE_BYTES_MAX
from interlock.spec.declare import Integration
from interlock.spec.function import Context, Event, Hook
from interlock.spec.signatures import standard_webhooks
from interlock.testing.lab import Lab


@dataclass(frozen=True)
class Scan:
    patient: str
    image: str


@dataclass(frozen=True)
class Stored:
    patient: str
    image: str


clinic = Integration("clinic", owner="imaging", purpose="Scans reach the archive")
archive = clinic.http("archive", honours_keys=True)
scanned = clinic.event("scan.made", Scan, key=lambda scan: scan.patient)
canonical = clinic.event("scan.canonical", Scan, key=lambda scan: scan.patient)
stored = clinic.event("scan.stored", Stored, key=lambda scan: scan.patient)
seen: list[Scan | Stored] = []


@clinic.webhook("POST /scans", verify=standard_webhooks(secret="clinic.scanner"))
def accept(hook: Hook) -> Iterable[Draft]:
    body = hook.json()
    return [scanned.draft(Scan(body["patient"], body["image"]), id=body["id"])]


@clinic.translate(scanned, into=canonical)
def translated(scan: Scan) -> Scan:
    return scan


@clinic.subscribe(canonical, on_dead="skip")
async def keep(event: Event[Scan], context: Context) -> None:
    await context.use(archive).post("/scans", json={"patient": event.payload.patient})
    context.emit(stored.draft(Stored(event.payload.patient, event.payload.image), id=f"stored-{event.source_id}"))


@clinic.subscribe(stored)
async def note(event: Event[Stored], context: Context) -> None:
    seen.append(event.payload)


IMAGE = "x" * BODY_INLINE_BYTES_MAX


def scan(patient: str, mark: str = "") -> bytes:
    return json.dumps({"id": f"{patient}{mark}", "patient": patient, "image": f"{patient} {mark}{IMAGE}"}).encode()


def test_a_large_payload_goes_through_webhook_translation_emit_and_retry_as_any_other() -> None:
    async def story() -> None:
        seen.clear()
        async with Lab(clinic) as lab:
            lab.system(archive).answers(503, 201)
            await lab.hook("POST /scans", scan("anna"), signed_with="clinic.scanner")
            await lab.settle()
            assert seen == [Stored("anna", f"anna {IMAGE}")]
            assert len(lab._disk.files.names()) == 1, "all three events have one content"

    asyncio.run(story())


def test_an_event_whose_file_is_lost_dies_alone_and_says_so() -> None:
    async def story() -> None:
        seen.clear()
        async with Lab(clinic) as lab:
            lab.system(archive).answers(503, 503, 503, 201)
            drafts = [canonical.draft(Scan(name, name + IMAGE), id=name) for name in ("anna", "bert", "carl")]
            for draft in drafts:
                await lab.send(draft)
            await lab.advance(milliseconds=1)
            files = lab._disk.files
            files.remove(Claim.of(drafts[0].data).hash)
            files.damage(Claim.of(drafts[1].data).hash)
            await lab.settle()
            letters = sorted(lab.subscription("clinic.keep").dead, key=lambda letter: letter.event.draft.id)
            assert [(letter.event.draft.key, letter.event.absent, letter.reason) for letter in letters] == [
                ("anna", "missing", "permanent"),
                ("bert", "damaged", "permanent"),
            ]
            assert [(letter.error or "").partition(":")[0] for letter in letters] == ["body missing", "body damaged"]
            assert [each.patient for each in seen] == ["carl"]

    asyncio.run(story())
