"""Each rule of `check` fires on what it is for and is silent on what is right."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

import msgspec
import pytest

from interlock.core.errors import SpecError
from interlock.spec.bindings import Bindings, StreamBinding, nowhere
from interlock.spec.check import build_plan, check
from interlock.spec.declare import Integration
from interlock.spec.findings import Known
from interlock.spec.function import HttpSystem
from interlock.spec.plan import HttpBinding, RetryPolicy, Where
from interlock.spec.retry import INTERACTIVE, WEBHOOK, block_then_skip
from interlock.spec.signatures import (
    StandardWebhooks,
    github,
    hmac_signature,
    no_verification,
    shopify,
    slack,
    standard_webhooks,
    stripe,
)

MINUTE = timedelta(minutes=1)
HOUR_US = 3_600_000_000


@dataclass
class Settled:
    account: str
    cents: int


@dataclass
class Lines:
    id: str
    lines: list[str]


class Project:
    """A right integration, of which a test makes one thing wrong."""

    def __init__(self, name: str = "payments", **changed: object) -> None:
        said = {"owner": "payments-team", "purpose": "Settlements reach the ledger"} | changed
        self.integration = Integration(name, **said)
        self.ledger = self.integration.http("ledger", honours_keys=True)
        self.settled = self.integration.event("payment.settled", Settled, key=lambda p: p.account)

    def accept(self, route: str = "POST /hooks/psp", verify=None, **options):
        def accept(hook):
            return []

        self.integration.webhook(route, verify=verify or standard_webhooks(secret="psp.webhook"), **options)(accept)
        return self

    def book(self, *types, **options):
        ledger = self.ledger

        async def book(event, context):
            await context.use(ledger).post("/entries")

        said = {"freshness": MINUTE, "on_dead": "halt"} | options
        stated = {name: value for name, value in said.items() if value is not None}
        self.integration.subscribe(*(types or (self.settled,)), **stated)(book)
        return self

    def link(self, operation: str = "POST /entries", map: Callable[[Settled], object] | None = None):
        def to_entry(payload):
            raise NotImplementedError

        target = next(HttpSystem(spec) for spec in self.integration.systems)
        said = {"on_dead": "halt", "freshness": MINUTE}
        self.integration.link(self.settled, target, operation, map=map or to_entry, **said)
        return self

    def poll(self, every: timedelta = MINUTE, **options):
        async def changed(since, context):
            raise NotImplementedError

        self.integration.poll(every=every, **options)(changed)
        return self

    def schedule(self, **options):
        async def nightly(due, context):
            raise NotImplementedError

        self.integration.schedule(**({"missed": "skip"} | options))(nightly)
        return self

    def answering(self, **declared: object):
        self.integration.systems.clear()
        self.ledger = self.integration.http("ledger", honours_keys=True, **declared)
        return self

    def bound(self, **options: object) -> Bindings:
        binding = HttpBinding(**({"url": "https://ledger.example"} | options))
        return Bindings(
            systems={"payments.ledger": binding}, places={"systems.payments.ledger": Where("interlock.toml", 9)}
        )

    def findings(self, bindings: Bindings | None = None, **material: object):
        return check([self.integration], bindings or nowhere([self.integration]), **material)

    def rules(self, bindings: Bindings | None = None, **material: object) -> list[str]:
        return [finding.rule for finding in self.findings(bindings, **material)]


async def waiting(_: object) -> str:
    return ""


def right() -> Project:
    declared = Project().answering(success_when=lambda answer: bool(answer.body), refresh=waiting)
    return declared.accept().book().link().poll().schedule(cron="0 6 * * MON-FRI", timezone="Europe/Berlin")


def test_nothing_is_said_of_what_is_right():
    assert right().findings() == []


def test_a_finding_has_a_place_a_reason_and_a_fix():
    (finding,) = Project(owner=" ").findings()
    assert finding.where.file == __file__
    assert finding.where.line > 0
    assert (finding.severity, finding.subject, finding.why) == ("error", "payments", "it has no owner")
    assert "owner=" in finding.fix
    assert str(finding).startswith(f"{__file__}:{finding.where.line}: error: payments: it has no owner")


def both() -> Project:
    """One function for a poll and for a schedule: two cursors of one name."""
    project = Project()

    async def changed(since, context):
        raise NotImplementedError

    project.integration.poll(every=MINUTE)(changed)
    project.integration.schedule(every=MINUTE, missed="skip")(changed)
    return project


def test_an_impossible_time_is_refused_with_its_line_and_the_fix():
    (finding,) = Project().schedule(cron="0 0 31 2 *").findings()
    assert (finding.where.file, finding.severity) == (__file__, "error")
    assert finding.why == "cron='0 0 31 2 *' is never: bad day-of-month"
    assert "0 6 * * *" in finding.fix


def lifted(_: object) -> Settled:
    raise NotImplementedError


def upcast(name: str, version: int, function: Callable[[object], object] = lifted, times: int = 1) -> Project:
    """Upcasters from version 1 of `payment.settled` to this; nothing reads either."""
    project = Project()
    known = {project.settled.id: project.settled}
    id = f"{name}@{version}"
    into = known.get(id) or project.integration.event(name, Settled, version=version, key=lambda p: p.account)
    for _ in range(times):
        project.integration.upcast(project.settled, into=into)(function)
    return project


def upcast_abroad() -> Project:
    project, other = Project(), Project("other")
    into = other.integration.event("payment.settled", Settled, version=2, key=lambda p: p.account)
    project.integration.upcast(project.settled, into=into)(lifted)
    return project


def numbered(raw=None, model=Settled, *, into: bool = False, **options) -> Project:
    """A resequencer; `into`: of the type that it reads."""
    project = Project()
    ordered = project.integration.event("payment.ordered", model, key=str)
    said = {"by": "cents", "gap_after": MINUTE} | options
    made = project.settled if into else ordered
    project.integration.resequence(raw or project.settled, into=made, **said)
    return project


def chain(*steps: tuple[int, int], reads: int, also: int | None = None, keyed: Iterable[int] = range(1, 4)) -> Project:
    """Three versions of a type, upcasters between some of them, and a subscription to one or two of them."""
    project = Project()
    versions = {
        number: project.integration.event(
            "paid", Settled, version=number, key=(lambda p: p.account) if number in keyed else None
        )
        for number in range(1, 4)
    }
    for old, into in steps:
        project.integration.upcast(versions[old], into=versions[into])(lifted)
    return project.book(*(versions[number] for number in (reads, also) if number))


Wrong = Callable[[], list[str]]

WRONG: dict[str, tuple[str, Wrong]] = {
    "a function that outlives its lease": (
        "spec.deadline",
        lambda: Project().book(deadline=timedelta(seconds=31)).rules(),
    ),
    "a function without time": ("spec.deadline", lambda: Project().book(deadline=timedelta(0)).rules()),
    "a poll that outlives its lease": ("spec.deadline", lambda: Project().poll(deadline=MINUTE).rules()),
    "a call that outlives the lease": (
        "spec.deadline",
        lambda: (p := Project()).rules(p.bound(deadline_us=31_000_000)),
    ),
    "a call without time to connect": ("spec.deadline", lambda: (p := Project()).rules(p.bound(connect_us=-1))),
    "order without a key": (
        "spec.order-needs-key",
        lambda: (p := Project()).book(p.integration.event("ping", Settled)).rules(),
    ),
    "newer ones only, without order": (
        "spec.newness-without-order",
        lambda: Project().book(order="none", on_dead="skip", if_newer_than="cents").rules(),
    ),
    "newer by a field that is not there": (
        "spec.newness-unknown",
        lambda: Project().book(if_newer_than="cent").rules(),
    ),
    "newer by a field that says nothing": (
        "spec.newness-unusable",
        lambda: (
            (p := Project()).book(p.integration.event("x", Lines, key=lambda p: p.id), if_newer_than="lines").rules()
        ),
    ),
    "numbers without order": ("spec.sequence-contradicted", lambda: numbered(order="none").rules()),
    "numbers with another order": ("spec.sequence-contradicted", lambda: numbered(if_newer_than="cents").rules()),
    "numbers of another integration": (
        "spec.sequence-elsewhere",
        lambda: numbered(raw=Project("other").settled).rules(),
    ),
    "numbers without end": ("spec.sequence-circular", lambda: numbered(into=True).rules()),
    "numbers of another model": ("spec.sequence-unmapped", lambda: numbered(model=Lines).rules()),
    "numbers by a field that is not there": ("spec.sequence-unnumbered", lambda: numbered(by="cent").rules()),
    "numbers by a text": ("spec.sequence-unnumbered", lambda: numbered(by="account").rules()),
    "a wait for numbers without end": ("spec.bound", lambda: numbered(gap_after=timedelta(days=31)).rules()),
    "a buffer for none": ("spec.bound", lambda: numbered(buffer_max=0).rules()),
    "an order that is none": ("spec.order-unknown", lambda: Project().book(order="fifo").rules()),
    "a subscription for nothing": ("spec.subscription-empty", lambda: empty().rules()),
    "types of two integrations": (
        "spec.types-of-two-streams",
        lambda: (p := Project()).book(p.settled, Project("other").settled).rules(),
    ),
    "an upcaster into another name": ("spec.upcast-other-type", lambda: upcast("payment.booked", 2).rules()),
    "an upcaster into another integration": ("spec.upcast-other-type", lambda: upcast_abroad().rules()),
    "an upcaster into the same version": ("spec.upcast-not-newer", lambda: upcast("payment.settled", 1).rules()),
    "an upcaster into an older version": ("spec.upcast-not-newer", lambda: chain((2, 1), reads=1).rules()),
    "two upcasters of one version": ("spec.upcast-twice", lambda: upcast("payment.settled", 2, times=2).rules()),
    "an upcaster that waits": ("spec.upcast-async", lambda: upcast("payment.settled", 2, waiting).rules()),
    "a chain of upcasters with a hole at its end": ("spec.upcast-hole", lambda: chain((1, 2), reads=3).rules()),
    "a chain of upcasters with a hole at its start": ("spec.upcast-hole", lambda: chain((2, 3), reads=3).rules()),
    "an old version without the key of the new one": (
        "spec.order-needs-key",
        lambda: chain((1, 2), (2, 3), reads=3, keyed=range(2, 4)).rules(),
    ),
    "no owner": ("spec.owner-missing", lambda: Project(owner="").rules()),
    "no purpose": ("spec.purpose-missing", lambda: Project(purpose="\n").rules()),
    "freshness unsaid": ("spec.freshness-unsaid", lambda: Project().book(freshness=None).rules()),
    "no freshness at all": ("spec.freshness", lambda: Project().book(freshness=timedelta(0)).rules()),
    "freshness beyond the log": ("spec.freshness", lambda: Project().book(freshness=timedelta(days=31)).rules()),
    "on_dead unsaid": ("spec.on-dead-unsaid", lambda: Project().book(on_dead=None).rules()),
    "an on_dead that is none": ("spec.on-dead-unknown", lambda: Project().book(on_dead="stop").rules()),
    "a block of no time": ("spec.on-dead-after", lambda: Project().book(on_dead=block_then_skip(timedelta(0))).rules()),
    "a block without order": (
        "spec.on-dead-without-order",
        lambda: Project().book(order="none", on_dead=block_then_skip(MINUTE)).rules(),
    ),
    "a reserved name": ("spec.name-reserved", lambda: named("_audit").rules()),
    "a malformed name": ("spec.name-malformed", lambda: named("Pay ments").rules()),
    "a name in other letters": ("spec.name-malformed", lambda: named("zahlungenü").rules()),
    "an endless name": ("spec.name-malformed", lambda: named("a" * 101).rules()),
    "a function twice": ("spec.name-twice", lambda: Project().book().book().rules()),
    "an event type twice": ("spec.name-twice", lambda: twice().rules()),
    "two webhooks at one address": ("spec.route-twice", lambda: beside().rules()),
    "a retry without end": ("spec.bound", lambda: Project().book(retry=RetryPolicy(age_max_us=2**50)).rules()),
    "a retry without a pause": ("spec.bound", lambda: Project().book(retry=RetryPolicy(base_us=0)).rules()),
    "more than 1,000 attempts": ("spec.bound", lambda: Project().book(retry=RetryPolicy(attempts_max=1_001)).rules()),
    "a negative delay": ("spec.bound", lambda: Project().book(retry=RetryPolicy(schedule=(-1,))).rules()),
    "an endless schedule": ("spec.bound", lambda: Project().book(retry=RetryPolicy(schedule=(1,) * 101)).rules()),
    "a body without bound": ("spec.bound", lambda: Project().accept(body_bytes_max=2**40).rules()),
    "a tolerance of a day": (
        "spec.bound",
        lambda: Project().accept(verify=StandardWebhooks("a", 24 * HOUR_US)).rules(),
    ),
    "a poll without a pause": ("spec.bound", lambda: Project().poll(every=timedelta(0)).rules()),
    "a schedule without times": ("spec.times-unsaid", lambda: Project().schedule().rules()),
    "a schedule with times of two kinds": (
        "spec.times-unsaid",
        lambda: Project().schedule(cron="0 6 * * *", every=MINUTE).rules(),
    ),
    "a span in a zone": ("spec.times-unsaid", lambda: Project().schedule(every=MINUTE, timezone="Asia/Tokyo").rules()),
    "a cron expression of four fields": ("spec.cron-malformed", lambda: Project().schedule(cron="0 6 * *").rules()),
    "a day that never is": ("spec.cron-malformed", lambda: Project().schedule(cron="0 0 31 2 *").rules()),
    "a zone that is none": (
        "spec.timezone-unknown",
        lambda: Project().schedule(cron="0 6 * * *", timezone="Europe/Berlim").rules(),
    ),
    "missed times that nobody thought of": (
        "spec.missed-unknown",
        lambda: Project().schedule(every=MINUTE, missed="later").rules(),
    ),
    "a schedule without a pause": ("spec.bound", lambda: Project().schedule(every=timedelta(0)).rules()),
    "a schedule of half a year": ("spec.bound", lambda: Project().schedule(every=timedelta(days=180)).rules()),
    "a run that outlives its lease": (
        "spec.deadline",
        lambda: Project().schedule(every=MINUTE, deadline=MINUTE).rules(),
    ),
    "a function that polls and is a schedule": ("spec.name-twice", lambda: both().rules()),
    "version zero": ("spec.bound", lambda: versioned(0).rules()),
    "no concurrency": ("spec.bound", lambda: (p := Project()).rules(p.bound(concurrency=0))),
    "a rate of nothing": ("spec.bound", lambda: (p := Project()).rules(p.bound(rate_per_second=0.0))),
    "a rate that is no number": ("spec.bound", lambda: (p := Project()).rules(p.bound(rate_per_second=float("nan")))),
    "too many shards": ("spec.bound", lambda: sharded(257)),
    "a webhook by GET": ("spec.route-malformed", lambda: Project().accept("GET /hooks").rules()),
    "a webhook without a path": ("spec.route-malformed", lambda: Project().accept("POST").rules()),
    "a webhook with a pattern": ("spec.route-malformed", lambda: Project().accept("POST /hooks/{id}").rules()),
    "a link that reads": ("spec.operation-malformed", lambda: Project().link("GET /entries").rules()),
    "a link to an address of the event": ("spec.operation-malformed", lambda: Project().link("PUT /e/{id}").rules()),
    "a link without an address": ("spec.operation-malformed", lambda: Project().link("POST").rules()),
    "a link whose map has no name": ("spec.name-malformed", lambda: Project().link(map=lambda it: it).rules()),
    "anyone may send, for no reason": (
        "spec.verification-unsaid",
        lambda: Project().accept(verify=no_verification(reason=""), dedupe="X-Reading").rules(),
    ),
    "anyone may send, and nothing has an id": (
        "spec.dedupe-unsaid",
        lambda: Project().accept(verify=no_verification(reason="a public form")).rules(),
    ),
    "an HMAC without an id": ("spec.dedupe-unsaid", lambda: acme(id_header=None).rules()),
    "no dedupe for no reason": ("spec.dedupe-unsaid", lambda: acme({"dedupe": "none"}).rules()),
    "SHA-1 for no reason": ("spec.signature-weak", lambda: acme(algorithm="sha1").rules()),
    "an algorithm that is none": ("spec.signature-malformed", lambda: acme(algorithm="md5").rules()),
    "an encoding that is none": ("spec.signature-malformed", lambda: acme(encoding="base32").rules()),
    "a header with a space": ("spec.signature-malformed", lambda: acme(header="X Signature").rules()),
    "no header": ("spec.signature-malformed", lambda: acme(header="").rules()),
    "an id where the signature is": ("spec.signature-malformed", lambda: acme(id_header="x-signature").rules()),
    "a prefix with a line end": ("spec.signature-malformed", lambda: acme(prefix="v1=\n").rules()),
    "a member without a name": ("spec.signature-malformed", lambda: acme(id_member="").rules()),
    "a signature over nothing": ("spec.signature-malformed", lambda: acme(content="").rules()),
    "a signature over two bodies": ("spec.signature-malformed", lambda: acme(content="{body}{body}").rules()),
    "a signature over what nobody knows": ("spec.signature-malformed", lambda: acme(content="{id}.{body}").rules()),
    "a timestamp from nowhere": ("spec.signature-malformed", lambda: acme(content="{timestamp}.{body}").rules()),
    "a timestamp that anyone can write": ("spec.signature-malformed", lambda: acme(timestamp_header="X-Time").rules()),
    "an HMAC's tolerance of a day": (
        "spec.bound",
        lambda: acme(content="{timestamp}.{body}", timestamp_header="X-Time", tolerance=timedelta(days=1)).rules(),
    ),
    "Stripe's tolerance of nothing": (
        "spec.bound",
        lambda: Project().accept(verify=stripe(secret="a", tolerance=timedelta(0))).rules(),
    ),
    "an HMAC's secret that nobody set": ("spec.secret-unknown", lambda: acme().rules(secrets("acme.webhok"))),
    "a System without an address": ("spec.system-unbound", lambda: Project().rules(Bindings())),
    "an address of files": ("spec.address-malformed", lambda: (p := Project()).rules(p.bound(url="file:///etc"))),
    "an address with a password": (
        "spec.address-malformed",
        lambda: (p := Project()).rules(p.bound(url="https://u:p@ledger.example")),
    ),
    "an address with a wrong port": (
        "spec.address-malformed",
        lambda: (p := Project()).rules(p.bound(url="http://a:99999")),
    ),
    "an address of no database": ("spec.address-malformed", lambda: sql("https://ledger.example")),
    "a database with its password": ("spec.secret-literal", lambda: sql("postgresql://u:hunter2@h/d")),
    "a database with its password in a parameter": (
        "spec.secret-literal",
        lambda: sql("postgresql://u@h/d?password=hunter2"),
    ),
    "a database's secret that nobody set": (
        "spec.secret-unknown",
        lambda: sql("postgresql://u:secret:ledger@h/d", secrets=frozenset({"other"})),
    ),
    "a database with header fields": ("spec.setting-idle", lambda: sql("sqlite:///ledger.db", headers={"a": "b"})),
    "a binding of nothing": ("spec.binding-unknown", lambda: (p := Project()).rules(unknown(p))),
    "a secret that nobody set": ("spec.secret-unknown", lambda: Project().accept().rules(secrets("psp.webhok"))),
    "a header's secret that nobody set": (
        "spec.secret-unknown",
        lambda: (p := Project()).rules(
            msgspec.structs.replace(p.bound(headers={"authorization": "secret:ledger"}), secrets=frozenset({"other"}))
        ),
    ),
    "a header with its secret": (
        "spec.secret-literal",
        lambda: (p := Project()).rules(p.bound(headers={"authorization": "hunter2"})),
    ),
    "a secret in code": (
        "spec.secret-literal",
        lambda: Project().rules(sources={"a.py": 'SECRET = "whsec' + '_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"'}),
    ),
    "nobody says whether keys are honoured": ("spec.keys-unsaid", lambda: unsaid().book().rules()),
    "a verdict that would have to be waited for": (
        "spec.success-when-async",
        lambda: Project().answering(success_when=waiting).rules(),
    ),
    "a token without waiting": ("spec.refresh-not-async", lambda: Project().answering(refresh=lambda _: "").rules()),
    "another shape under one version": (
        "spec.shape-changed",
        lambda: Project().rules(known=Known(types={"payment.settled@1": "0" * 32})),
    ),
    "a subscription that is gone": (
        "spec.name-gone",
        lambda: Project().rules(known=Known(subscriptions=frozenset({"payments.book"}))),
    ),
    "a stream that is gone": ("spec.name-gone", lambda: Project().rules(known=Known(streams=frozenset({"orders"})))),
    "a System that is gone": (
        "spec.name-gone",
        lambda: Project().rules(known=Known(systems=frozenset({"orders.erp"}))),
    ),
}


@pytest.mark.parametrize(("rule", "rules"), WRONG.values(), ids=WRONG.keys())
def test_a_rule_fires_on_what_it_is_for(rule, rules):
    assert set(rules()) == {rule}


SILENT: dict[str, Wrong] = {
    "a deadline at its bound": lambda: Project().book(deadline=timedelta(seconds=30)).rules(),
    "a type without a key and no order": lambda: (
        (p := Project()).book(p.integration.event("ping", Settled), order="none").rules()
    ),
    "on_dead unsaid where nothing is changed": lambda: watching().rules(),
    "an impatient retry under the default on_dead": lambda: watching(retry=INTERACTIVE).rules(),
    "the list of Standard Webhooks": lambda: Project().book(retry=WEBHOOK).rules(),
    "anyone may send, for a reason": lambda: (
        Project().accept(verify=no_verification(reason="a public form"), dedupe="X-Form-Id").rules()
    ),
    "no dedupe for a reason": lambda: acme({"dedupe": "none", "dedupe_reason": "readings"}, id_header=None).rules(),
    "an HMAC with its id in a field": lambda: acme().rules(),
    "an HMAC with its id in the body": lambda: acme(id_header=None, id_member="id").rules(),
    "an HMAC with the id that the webhook names": lambda: acme({"dedupe": "X-Delivery"}, id_header=None).rules(),
    "an HMAC over a timestamp": lambda: acme(content="v0:{timestamp}:{body}", timestamp_header="X-Time").rules(),
    "SHA-1 for a reason": lambda: acme(algorithm="sha1", sha1_reason="an old till").rules(),
    "Stripe": lambda: Project().accept(verify=stripe(secret="psp.webhook")).rules(),
    "Slack": lambda: Project().accept(verify=slack(secret="psp.webhook")).rules(),
    "Shopify": lambda: Project().accept(verify=shopify(secret="psp.webhook")).rules(),
    "a whole chain of upcasters": lambda: chain((1, 2), (2, 3), reads=3).rules(),
    "a chain that leaves out a version that is named": lambda: chain((1, 3), reads=3, also=2).rules(),
    "versions that nobody lifts": lambda: chain(reads=3).rules(),
    "an old version alone": lambda: chain((1, 2), (2, 3), reads=1).rules(),
    "the same name in two versions": lambda: versioned(2).rules(),
    "a secret by its name": lambda: (p := Project().accept(verify=github(secret="psp.webhook"))).rules(
        msgspec.structs.replace(
            p.bound(headers={"authorization": "secret:psp.webhook", "x-tenant": "a"}),
            secrets=frozenset({"psp.webhook"}),
        )
    ),
    "secrets that nobody has looked for": lambda: Project().accept().rules(),
    "keys unsaid of a System that nobody uses": lambda: unsaid().rules(),
    "the shape that the store knows": lambda: (p := Project()).rules(
        known=Known(types={"payment.settled@1": p.settled.spec.schema_digest})
    ),
    "names that the store and the plan know": lambda: right().rules(
        known=Known(
            subscriptions=frozenset({"payments.book", "payments.accept.inbox", "payments.changed"}),
            streams=frozenset({"payments", "payments.accept.inbox", "_audit"}),
            systems=frozenset({"payments.ledger"}),
        )
    ),
}


@pytest.mark.parametrize("rules", SILENT.values(), ids=SILENT.keys())
def test_a_rule_is_silent_on_what_is_right(rules):
    assert rules() == []


def test_a_subscription_that_is_gone_is_told_its_likely_new_name():
    (finding,) = right().findings(known=Known(subscriptions=frozenset({"payments.book_it", "payments.changed"})))
    assert "interlock subscriptions rename payments.book_it payments.book" in finding.fix
    assert "interlock subscriptions retire payments.book_it" in finding.fix


def test_an_unknown_binding_is_told_the_nearest_name():
    project = Project()
    bindings = Bindings(systems={**project.bound().systems, "payments.leger": HttpBinding(url="https://a.example")})
    (finding,) = project.findings(bindings)
    assert "payments.ledger" in finding.fix


def test_errors_come_before_warnings():
    severities = [finding.severity for finding in Project(owner="").book(freshness=None).findings()]
    assert severities == ["error", "warning"]


def test_a_plan_is_refused_with_every_error_and_its_place():
    with pytest.raises(SpecError) as refused:
        build_plan([Project(owner="", purpose="").integration], nowhere([Project().integration]))
    assert refused.value.code == "spec.check-failed"
    assert "it has no owner" in refused.value.message
    assert "it has no purpose" in refused.value.message
    assert refused.value.where.startswith(__file__)


def test_a_plan_is_accepted_with_warnings():
    project = Project().book(freshness=None)
    assert build_plan([project.integration], nowhere([project.integration])).subscriptions.keys() == {"payments.book"}


def empty() -> Project:
    project = Project()

    async def nothing(event, context):
        return None

    project.integration.subscribe(freshness=MINUTE)(nothing)
    return project


def watching(**options) -> Project:
    project = Project()

    async def watch(event, context):
        return None

    project.integration.subscribe(project.settled, freshness=MINUTE, **options)(watch)
    return project


def named(name: str) -> Project:
    project = Project()
    project.integration.event(name, Settled)
    return project


def twice() -> Project:
    return named("payment.settled")


def versioned(version: int) -> Project:
    project = Project()
    project.integration.event("payment.settled", Settled, version=version)
    return project


def unsaid() -> Project:
    project = Project()
    project.integration.systems.clear()
    project.ledger = project.integration.http("ledger")
    return project


def sharded(shards: int) -> list[str]:
    project = Project()
    bindings = nowhere([project.integration])
    return project.rules(msgspec.structs.replace(bindings, streams={"payments": StreamBinding(shards=shards)}))


def acme(said: dict[str, str] | None = None, **options: object) -> Project:
    """A webhook that is signed with an HMAC, of which a test makes one thing wrong; None leaves an option out."""
    stated = {"header": "X-Signature", "id_header": "X-Delivery"} | options
    given = {name: value for name, value in stated.items() if value is not None}
    return Project().accept(verify=hmac_signature(secret="acme.webhook", **given), **(said or {}))


def beside() -> Project:
    project = Project().accept()

    def also(hook):
        return []

    project.integration.webhook("POST /hooks/psp", verify=github(secret="a"))(also)
    return project


def sql(url: str, secrets: frozenset[str] | None = None, **binding: object) -> list[str]:
    """The rules that a binding of a SQL System breaks."""
    books = Integration("books", owner="team", purpose="A ledger")
    books.sql("ledger")
    bindings = Bindings(systems={"books.ledger": HttpBinding(url=url, **binding)}, secrets=secrets)
    return [finding.rule for finding in check([books], bindings)]


def unknown(project: Project) -> Bindings:
    bindings = project.bound()
    return msgspec.structs.replace(
        bindings, systems={**bindings.systems, "other.erp": HttpBinding("https://a.example")}
    )


def secrets(*names: str) -> Bindings:
    return msgspec.structs.replace(nowhere([Project().integration]), secrets=frozenset(names))
