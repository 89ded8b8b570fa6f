"""The story of this example, told in the terminal on real processes: `python run.py`. Exits 1 if a promise breaks.

It happens in a folder of its own, which is removed at the end (`--keep` keeps it): GitHub's payloads go in by HTTP, and
come out at a flaky tracker and at a chat that limits its callers. Every figure is counted, at the sender, at the
Systems or by `interlock dead ls`.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from stage import SYSTEMS, BrokenPromise, Sent, Stage

HERE = Path(__file__).parent
BUG = ('hook.headers["x-github-event"]', 'hook.headers["x-github-evnt"]')
SUBSCRIPTIONS = {"tracker": "github.file_in_tracker", "chat": "github.tell_chat"}
COLORS = {"*": "32", ">": "36", "!": "31;1", "$": "1", "=": "32;1"}
IS_PLAIN = not sys.stdout.isatty() or "NO_COLOR" in os.environ


class Teller:
    """Prints the story: a mark for who acts, and the time since it began."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def title(self, text: str) -> None:
        """A new chapter."""
        print(f"\n  {text}", flush=True)

    def line(self, mark: str, text: str) -> None:
        """One line: `>` is sent, `*` is seen, `$` is typed, `!` is wrong, `=` is counted."""
        shown = mark if IS_PLAIN else f"\033[{COLORS[mark]}m{mark}\033[0m"
        print(f"  {time.monotonic() - self._began:5.1f} s  {shown}  {text}", flush=True)

    def output(self, text: str) -> None:
        """What a command printed, set apart, in lines that fit."""
        for line in text.rstrip().splitlines():
            print(textwrap.fill(line, 79, initial_indent=" " * 13, subsequent_indent=" " * 17), flush=True)


def tell(stage: Stage, teller: Teller) -> None:
    """From the first delivery to the last count."""
    teller.title("Real GitHub webhooks: signed and posted, to reach a tracker and a chat")
    with stage.interlock():
        teller.line("*", f"interlock run   listens at {stage.data}")
        teller.line("*", "chat            takes 20 messages a second")
        teller.line("*", "tracker         refuses 1 call in 12, and loses 1 answer in 20")
        first = stage.send()
        teller.line(">", f"{told(first)}   {first.statuses.total()} deliveries, {first.statuses[200]} of them pings")
        arrived(stage, teller, first.accepted, in_turn=first.accepted)
        again = stage.send()
        teller.line(">", f"{told(again)}   the same ones, sent again")
        forged = stage.send("--flip")
        teller.line(">", f"{told(forged)}            the same ones, one bit flipped in each")
        require(again == first, "a delivery that is sent again is answered as before")
        require(set(forged.statuses) == {401}, "a forged delivery is refused")
        settled(stage)
        counted(stage, teller, first.accepted)
    mended(stage, teller, first.accepted, with_a_bug(stage, teller, first.accepted))
    with stage.interlock():
        teller.line("$", "interlock doctor")
        teller.output(stage.cli("doctor"))


def with_a_bug(stage: Stage, teller: Teller, before: Sequence[str]) -> list[str]:
    """A typing error is deployed; gives the ids that were accepted meanwhile."""
    teller.title(f"A bug is deployed in accept(): {BUG[1]}")
    code = stage.folder / "github_activity.py"
    sound = code.read_text()
    require(BUG[0] in sound, "the place for the bug is there")
    code.write_text(sound.replace(*BUG))
    with stage.interlock():
        sent = stage.send("--round", "2")
        teller.line(">", f"{told(sent)}   {sent.statuses.total()} new deliveries")
        settled(stage)
        for group in stage.cli_json("dead", "ls")["groups"]:
            teller.line("!", f"{group['count']} dead letters   {group['error']}")
        counted(stage, teller, [*before, *sent.accepted])
    code.write_text(sound)
    return sent.accepted


def mended(stage: Stage, teller: Teller, before: Sequence[str], dead: Sequence[str]) -> None:
    """The code is put right, and what died of it is retried."""
    teller.title("The bug is mended, and the dead letters are retried")
    with stage.interlock():
        for group in stage.cli_json("dead", "ls")["groups"]:
            command = ("dead", "retry", group["fingerprint"], "--yes")
            teller.line("$", f"interlock {' '.join(command)}")
            teller.output(stage.cli(*command))
        arrived(stage, teller, [*before, *dead], in_turn=before)
        counted(stage, teller, [*before, *dead])


def told(sent: Sent) -> str:
    """What the sender was answered."""
    return "  ".join(f"{count} x {status}" for status, count in sorted(sent.statuses.items(), reverse=True))


def settled(stage: Stage) -> None:
    """Wait until every subscription has done all that it can."""

    def nothing_is_due() -> bool:
        found = stage.cli_json("subscriptions", "ls")["subscriptions"]
        return not any(one["lag"] or one["stragglers"].get("due") or one["stragglers"].get("running") for one in found)

    stage.until("nothing is due", nothing_is_due)


def arrived(stage: Stage, teller: Teller, accepted: Sequence[str], in_turn: Sequence[str]) -> None:
    """Wait until both Systems have all of these, then see that each came once and in the order of its repository.

    Those that were accepted without a fault (`in_turn`) have to come in the order in which the sender sent them.
    """
    for name in SYSTEMS:
        stage.until(f"{name} has {len(accepted)}", lambda name=name: len(stage.seen_by(name).taken) >= len(accepted))
        seen = stage.seen_by(name)
        deliveries = [entry["delivery"] for entry in seen.taken]
        require(sorted(deliveries) == sorted(accepted), f"{name} took what was accepted, and nothing twice")
        places: dict[str, list[dict[str, str]]] = {}
        for entry in seen.taken:
            places.setdefault(entry.get("project") or entry["channel"], []).append(entry)
        for place, entries in places.items():
            # Ids of events of one repository sort in the order of their acceptance.
            refs = [entry["ref"] for entry in entries]
            require(refs == sorted(refs), f"{name} has {place} in the order of its acceptance")
            arrivals = [entry["delivery"] for entry in entries if entry["delivery"] in in_turn]
            require(arrivals == sorted(arrivals, key=in_turn.index), f"{name} has {place} in the sender's order")
        faults = f"{seen.refused} refused, {seen.repeated} answers lost"
        teller.line("*", f"{name:<8}{len(deliveries):>4} once each, in order   {faults}")


def counted(stage: Stage, teller: Teller, accepted: Sequence[str]) -> None:
    """The books: what the sender was told against what the Systems took and what waits for a person."""
    groups = stage.cli_json("dead", "ls")["groups"]
    for name in SYSTEMS:
        others = {subscription for system, subscription in SUBSCRIPTIONS.items() if system != name}
        dead = sum(group["count"] for group in groups if group["subscription"] not in others)
        delivered = len({entry["delivery"] for entry in stage.seen_by(name).taken} & set(accepted))
        lost = len(set(accepted)) - delivered - dead
        teller.line("=", f"{name:<8}{len(accepted):>4} accepted = {delivered} delivered + {dead} dead + {lost} lost")
        require(lost == 0, f"nothing is lost on the way to {name}")


def require(holds: bool, promise: str) -> None:
    """A promise of this story."""
    if not holds:
        raise BrokenPromise(promise)


def main() -> None:
    # SIGTERM ends the story as Ctrl-C does: with everything put away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="interlock-github-"))
    try:
        shutil.copytree(HERE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".interlock"))
        with Stage(folder) as stage:
            tell(stage, Teller())
    except BrokenPromise as broken:
        sys.exit(f"\n  FAILED: {broken}")
    except KeyboardInterrupt:
        print("\n  interrupted")
        sys.exit(130)
    finally:
        if "--keep" in sys.argv:
            print(f"\n  kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
