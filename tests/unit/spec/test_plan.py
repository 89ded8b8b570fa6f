"""The plan: everything by its name, with a digest that is the same in every process and changes with every meaning."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import msgspec
import pytest

from interlock.spec.bindings import StreamBinding, nowhere
from interlock.spec.check import build_plan
from interlock.spec.declare import Integration

PROGRAM = """
import dataclasses
from interlock.spec.bindings import nowhere
from interlock.spec.check import build_plan
from interlock.spec.declare import Integration

@dataclasses.dataclass
class Settled:
    account: str

shop = Integration("shop", owner="o", purpose="p")
ledger = shop.http("ledger", honours_keys=True)
settled = shop.event("settled", Settled, key=lambda p: p.account)

@shop.subscribe(settled, on_dead="skip")
async def book(event, context):
    if event.key in {"a", "b", "c", "d"}:
        await context.use(ledger).post("/")

print(build_plan([shop], nowhere([shop])).digest)
"""


class Settled(msgspec.Struct):
    account: str
    region: str


def plan(*, key=lambda p: p.account, body=1, shards=8, freshness=1):
    shop = Integration("shop", owner="o", purpose="p")
    settled = shop.event("settled", Settled, key=key)

    async def first(event, context):
        return None

    async def second(event, context):
        event.payload.reload()

    function = first if body == 1 else second
    function.__name__ = "book"
    shop.subscribe(settled, freshness=timedelta(minutes=freshness))(function)
    bindings = msgspec.structs.replace(nowhere([shop]), streams={"shop": StreamBinding(shards=shards)})
    return build_plan([shop], bindings)


def test_the_digest_is_the_same_in_every_process_and_folder(tmp_path):
    digests = set()
    for seed, lines in (("1", 0), ("2", 3), ("3", 0)):
        file = tmp_path / f"shop{seed}.py"
        file.write_text("\n" * lines + PROGRAM)
        done = subprocess.run(
            [sys.executable, file],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": "src", "PYTHONHASHSEED": seed},
        )
        digests.add(done.stdout)
    assert len(digests) == 1


@pytest.mark.parametrize("changed", [{"key": lambda p: p.region}, {"body": 2}, {"shards": 4}, {"freshness": 2}])
def test_the_digest_changes_with_whatever_is_meant(changed):
    assert plan().digest == plan().digest
    assert plan(**changed).digest != plan().digest


def test_streams_have_the_shards_that_they_are_bound_to_and_inboxes_one():
    from interlock.spec.signatures import github

    shop = Integration("shop", owner="o", purpose="p")
    shop.event("settled", Settled)

    @shop.webhook("POST /hooks/psp", verify=github(secret="a"))
    def accept(hook):
        return []

    built = build_plan([shop], msgspec.structs.replace(nowhere([shop]), streams={"shop": StreamBinding(3, 10**9)}))
    assert [(stream.name, stream.shards) for stream in built.streams] == [("shop", 3), ("shop.accept.inbox", 1)]
    assert built.types.keys() == {"settled@1"}, "what an inbox keeps is no type that anyone may send"
