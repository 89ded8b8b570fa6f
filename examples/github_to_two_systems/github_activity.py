"""What happens on GitHub reaches the tracker and the chat: every delivery once, in the order of its repository."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from interlock import Context, Draft, Event, Hook, Integration, github

activity = Integration(
    "github",
    owner="developer-tools",
    purpose="Whoever plans or talks about work sees what happened on GitHub within a minute, in the order it happened",
)
tracker = activity.http("tracker", honours_keys=True)
chat = activity.http("chat", honours_keys=True)


@dataclass
class Received:
    """A delivery as GitHub sent it, with what every kind of delivery has."""

    delivery: str
    kind: str
    action: str
    repository: str
    sender: str
    body: dict[str, Any]


@dataclass
class Activity:
    """The canonical form: what happened where, by whom, in one line."""

    delivery: str
    repository: str
    kind: str
    actor: str
    summary: str
    url: str


received = activity.event("github.received", Received, version=1, key=lambda it: it.repository)
happened = activity.event("activity.happened", Activity, version=1, key=lambda it: it.repository)


@activity.webhook(
    "POST /hooks/github", verify=github(secret="github.webhook"), keep_headers=("x-github-event", "x-github-delivery")
)
def accept(hook: Hook) -> Iterable[Draft]:
    """One event a delivery. GitHub names it with a UUID, which stays the same when it sends again."""
    body = hook.json()
    place = body.get("repository") or body.get("installation", {}).get("account") or body["sender"]
    delivery = Received(
        delivery=hook.headers["x-github-delivery"],
        kind=hook.headers["x-github-event"],
        action=body.get("action", ""),
        repository=place.get("full_name") or place["login"],
        sender=body["sender"]["login"],
        body=body,
    )
    return [received.draft(delivery, id=delivery.delivery)]


@activity.translate(received, into=happened, freshness=timedelta(minutes=1))
def to_activity(raw: Received) -> Activity | None:
    """Pushes and issues in their own words, everything else by its name."""
    body = raw.body
    match raw.kind:
        case "push":
            count, branch = len(body["commits"]), body["ref"].removeprefix("refs/heads/")
            summary, url = f"pushed {count} commits to {branch}", body["compare"]
        case "issues":
            issue = body["issue"]
            summary, url = f"{raw.action} issue #{issue['number']}: {issue['title']}", issue["html_url"]
        case kind:
            summary, url = f"{kind} {raw.action}".strip(), body.get("repository", {}).get("html_url", "")
    return Activity(raw.delivery, raw.repository, raw.kind, raw.sender, summary, url)


@activity.subscribe(happened, freshness=timedelta(minutes=1), start="beginning")
async def file_in_tracker(event: Event[Activity], context: Context) -> None:
    it = event.payload
    text = f"{it.actor} {it.summary}"
    entry = {"project": it.repository, "text": text, "link": it.url, "delivery": it.delivery, "ref": event.id}
    await context.use(tracker).post("/entries", json=entry)


@activity.subscribe(happened, freshness=timedelta(minutes=1), on_dead="skip", start="beginning")
async def tell_chat(event: Event[Activity], context: Context) -> None:
    it = event.payload
    text = f"{it.actor} {it.summary}"
    line = {"channel": it.repository, "text": text, "delivery": it.delivery, "ref": event.id}
    await context.use(chat).post("/messages", json=line)
