"""A reader who types what a page shows: each command in order, in terminals that stay open where a command goes on.

`python -m tests.e2e.reader PAGE...` types it, and writes the output that came into the page where it has changed.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 20.0
PORTS = ("8080", "8081", "9101", "9102", "9103")
SECRET = "whsec_b25seSBmb3IgdGhlIHJlYWRlciBvZiBkb2NzISE="
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<why>[^\n]+) -->\n+)?(?:```(?P<language>console|diff)|<!-- console)\n"
    r"(?P<text>.*?)^(?:```|-->)$",
    re.MULTILINE | re.DOTALL,
)
GOES_ON = re.compile(r"(^|&& *)(interlock (-\S+ \S+ )*(dev|run|tail|demo$)\b|python systems\.py)[^&]*$")
ONLY_READS = re.compile(r"^interlock (\S+ )?(ls|show|doctor|check|plan)\b")
IDS = re.compile(r"\b(?:evt|att|job|fp)_[0-9a-z]+")
DIFFERING = (
    (IDS, None),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?"), r"[\dTZ:+. -]+"),
    (re.compile(r"\bnow\b|\bin \d+ [smhd]\b|\b\d+ [smhd] ago\b"), r"(?:now|in \d+ [smhd]|\d+ [smhd] ago)"),
    (re.compile(r"\b\d\d?:\d\d(?::\d\d(?:\.\d+)?)?\b"), r"\d\d?:\d\d(?::\d\d(?:\.\d+)?)?"),
    (re.compile(r"\d+(?:\.\d+)? ?(?:µs|ms|s|min|h)\b"), r"\d+(?:\.\d+)? ?(?:µs|ms|s|min|h)"),
    (re.compile(r"\b(?=[a-z]*\d)[0-9a-z]{16}\b"), "[0-9a-z]{16}"),
    (re.compile(r"(?<=127\.0\.0\.1:)\d+"), r"\d+"),
    (re.compile(r"[-─]{3,}"), r"[-─]{3,}"),
    (re.compile(r"\s+"), r"\s+"),
)


class Step(NamedTuple):
    """What is typed, if anything, and the lines that have to come."""

    typed: str
    lines: list[str]


class Block(NamedTuple):
    """A block of a page: where its text stands, and why it is left out, if it is."""

    line: int
    language: str
    why: str
    text: str
    span: tuple[int, int]


def blocks(page: str) -> Iterator[Block]:
    for found in FENCE.finditer(page):
        line = page.count("\n", 0, found.start("text")) + 1
        yield Block(line, found["language"] or "console", found["why"] or "", found["text"], found.span("text"))


def steps(block: str) -> list[Step]:
    made: list[Step] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            made.append(Step(line[2:], []))
        elif line == "^C":
            made.append(Step(line, []))
        elif made and made[-1].typed.endswith("\\"):
            made[-1] = Step(f"{made[-1].typed[:-1]}{line.lstrip()}", [])
        else:
            if not made:
                made.append(Step("", []))
            made[-1].lines.append(line)
    return made


class Open:
    """A command that goes on: its terminal."""

    def __init__(self, typed: str, process: subprocess.Popen[bytes], file: Path) -> None:
        self.typed = typed
        self.process = process
        self.seen = 0
        self._file = file

    def said(self) -> str:
        return self._file.read_text()

    def interrupt(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)

    def close(self) -> None:
        self.interrupt()
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Reader:
    """Somebody with a folder of their own and nothing in it.

    What a page may have, and what the reader makes of it:

    - a `console` block: lines with `$` are typed, those below them have to come, in their order; `...` stands for any
      lines. A line `^C` ends the command that was begun last. Lines without a command before them come in one
      of the open terminals, in any order.
    - a `diff` block: the change is made in the file that it names.
    - `page.py`, in the folder where it begins: its `python` blocks.
    - `<!-- console ... -->`: typed as well, and not shown. `<!-- not run: WHY -->` above a block: it is left out.

    Ids, times and addresses differ from run to run. An id of the page stands for the one that came in its place.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home
        self.names: dict[str, str] = {}
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.open: list[Open] = []
        self._matched = 0
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "INTERLOCK_"))}
        self._environment = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "NO_COLOR": "1",
            "COLUMNS": "120",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "INTERLOCK_DATA__PORT": self.ports["8080"],
            "INTERLOCK_CONTROL__PORT": self.ports["8081"],
        }

    def close(self) -> None:
        for each in reversed(self.open):
            each.close()

    def follow(self, page: str) -> Iterator[tuple[tuple[int, int], str]]:
        """Do what a page says; gives each block in which something else came, and what it says then."""
        for block in blocks(page):
            if block.why:
                continue
            if block.language == "diff":
                self.change(block.text)
                continue
            came = [(step, self.type(step, f"line {block.line}")) for step in steps(block.text)]
            if any(lines is not None for _, lines in came):
                yield block.span, "".join(shown(step, lines) for step, lines in came)

    def type(self, step: Step, place: str) -> list[str] | None:
        """Do one step; the lines that came, if others were to come."""
        if step.typed == "":
            self._await_anywhere(step.lines)
            return None
        if step.typed == "^C":
            last = next(each for each in reversed(self.open) if each.process.poll() is None)
            last.interrupt()
            last.process.wait(PATIENCE_SECONDS)
            return self._await(last, step.lines)
        command, code = self._meant(step.typed)
        if GOES_ON.search(command):
            return self._begin(command, step, place)
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            ended, told = self._run(command)
            is_right = self.matches(step.lines, told.splitlines()) if step.lines else True
            if (ended == code and is_right) or not ONLY_READS.match(command) or time.monotonic() > end:
                break
            time.sleep(0.2)
        assert ended == code, f"{place}: `{step.typed}` ended with {ended}\n{told}\n{self.said()}"
        return None if is_right else self._named(step.lines, told.splitlines())

    def said(self) -> str:
        """The ends of what stands in the open terminals."""
        return "\n".join(f"--- {each.typed}\n{each.said()[-2000:]}" for each in self.open)

    def _meant(self, typed: str) -> tuple[str, int]:
        """The command with this reader's ids and ports, and how it has to end."""
        for name, value in {**self.names, **{f":{port}": f":{free}" for port, free in self.ports.items()}}.items():
            typed = re.sub(rf"{re.escape(name)}\b", value, typed)
        code = re.search(r"# .*\bexit code (\d)", typed)
        return re.sub(r"\s+# .*$", "", typed), int(code[1]) if code else 0

    def _run(self, command: str) -> tuple[int, str]:
        where = self.home / ".where"
        ended = subprocess.run(
            ["bash", "-c", f"trap 'pwd > {shlex.quote(str(where))}' EXIT\n{command}"],
            cwd=self.folder,
            env=self._environment,
            input=SECRET if "secrets set" in command else "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        self.folder = Path(where.read_text().strip())
        self._use_free_ports()
        return ended.returncode, self._plain(ended.stdout)

    def _begin(self, command: str, step: Step, place: str) -> list[str] | None:
        before, _, last = command.rpartition("&& ")
        if before:
            code, told = self._run(before.rstrip("& "))
            assert code == 0, f"{place}: {told}"
        file = self.home / f".terminal-{len(self.open)}"
        address = self.folder / ".interlock" / "process.json"
        starts = re.search(r"interlock .*(dev|run)\b", last) is not None
        if starts:
            address.unlink(missing_ok=True)
        with file.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {last}"],
                cwd=self.folder,
                env=self._environment | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.open.append(opened := Open(last, process, file))
        if starts:
            until(lambda: address.exists() or process.poll() is not None)
            assert process.poll() is None, f"{place}: {opened.said()}"
        return self._await(opened, step.lines)

    def _await(self, terminal: Open, lines: list[str]) -> list[str] | None:
        """Lines that have to come in a terminal."""
        if not lines:
            return None
        came: list[str] = []

        def is_there() -> bool:
            nonlocal came
            came = self._came(terminal)
            return self.matches(lines, came, is_whole=False)

        if until(is_there):
            terminal.seen += self._matched
            return None
        return self._named(lines, came)

    def _named(self, lines: list[str], came: list[str]) -> list[str]:
        """Lines that came instead of others, with the ids that the page has: what it says later goes by those."""
        old, new = ([*dict.fromkeys(IDS.findall("\n".join(each)))] for each in (lines, came))
        known = {value: name for name, value in self.names.items()}
        for name in new:
            if name not in known:
                free = [each for each in old if each not in self.names and each[:3] == name[:3]]
                known[name] = free[0] if free else name
                self.names[known[name]] = name
        return [IDS.sub(lambda found: known[found[0]], line) for line in came]

    def _await_anywhere(self, lines: list[str]) -> None:
        """Lines that have to come in one of the terminals."""

        wanted = [line for line in lines if line.strip() not in ("", "...")]

        def has(terminal: Open) -> int:
            """How many lines of a terminal have to be read to see all of them; 0 if they are not there."""
            came, last = self._came(terminal), 0
            for line in wanted:
                if not self.matches([line], came, is_whole=False):
                    return 0
                last = max(last, self._matched)
            return last

        until(lambda: any(map(has, self.open)))
        terminal = next((each for each in reversed(self.open) if has(each)), None)
        assert terminal is not None, f"nowhere: {lines}\n{self.said()}"
        terminal.seen += has(terminal)

    def _came(self, terminal: Open) -> list[str]:
        return self._plain(terminal.said()).splitlines()[terminal.seen :]

    def _plain(self, said: str) -> str:
        """What was said as it would be in a home of one's own, on a machine where every port is free."""
        for port, free in self.ports.items():
            said = said.replace(f":{free}", f":{port}")
        return said.replace(str(self.home), "~")

    def matches(self, expected: list[str], came: list[str], *, is_whole: bool = True) -> bool:
        """Whether the lines came, in their order, and (`is_whole`) no others where no `...` stands; binds ids."""
        names = dict(self.names)
        at, free = 0, not is_whole
        wanted = [line for line in expected if line.strip()]
        got = [(number, line) for number, line in enumerate(came) if line.strip()]
        for line in wanted:
            if line.strip() == "...":
                free = True
                continue
            while at < len(got) and not bound(line, got[at][1], names):
                if not free:
                    return False
                at += 1
            if at == len(got):
                return False
            at += 1
            free = not is_whole
        if at < len(got) and not free:
            return False
        self.names = names
        self._matched = got[at - 1][0] + 1 if at else 0
        return True

    def change(self, diff: str) -> None:
        """Make a change: the lines with `-` and those around them become those with `+` and those around them."""
        head, *lines = diff.splitlines()
        file = self.folder / head.removeprefix("--- ")
        text = file.read_text()
        old = "".join(f"{line[1:]}\n" for line in lines if line[:1] in (" ", "-"))
        new = "".join(f"{line[1:]}\n" for line in lines if line[:1] in (" ", "+"))
        assert text.count(old) == 1, f"{file.name} has not this once:\n{old}"
        file.write_text(text.replace(old, new))

    def _use_free_ports(self) -> None:
        """Others use the ports of the templates on this machine, too."""
        for file in [*self.folder.glob("*.py"), *self.folder.glob("*.toml")] if self.folder != ROOT else []:
            text = file.read_text()
            changed = re.sub(r"\b(?:9101|9102|9103)\b", lambda port: self.ports[port[0]], text)
            if changed != text:
                file.write_text(changed)


def bound(expected: str, came: str, names: dict[str, str]) -> bool:
    """Whether a line came as the page has it; if so, ids of the page stand for those that came."""
    pattern, ids = "", list[str]()
    expected, at = expected.strip(), 0
    while at < len(expected):
        for differing, becomes in DIFFERING:
            if found := differing.match(expected, at):
                if becomes is None:
                    ids.append(found[0])
                pattern += becomes or f"({IDS.pattern})"
                break
        else:
            found = re.compile(r"\w+|.").match(expected, at)
            assert found is not None
            pattern += re.escape(found[0])
        at = found.end()
    matched = re.fullmatch(pattern, came.strip())
    if matched is None:
        return False
    given = dict(zip(ids, matched.groups(), strict=True))
    if any(names.get(name, value) != value for name, value in given.items()):
        return False
    names |= given
    return True


def shown(step: Step, lines: list[str] | None) -> str:
    typed = f"$ {step.typed}\n" if step.typed not in ("", "^C") else f"{step.typed}\n" if step.typed else ""
    return typed + "".join(f"{line.rstrip()}\n" for line in (step.lines if lines is None else lines))


def until(is_true: Callable[[], object]) -> bool:
    """Wait for something; whether it came before the end of patience."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def free_ports(count: int) -> list[str]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [str(each.getsockname()[1]) for each in sockets]


def read(page: Path, home: Path) -> Iterator[tuple[tuple[int, int], str]]:
    """`Reader.follow` for somebody new; a template's README is read in a project made of it."""
    reader = Reader(home)
    python = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    if python:
        (home / "page.py").write_text("\n\n".join(python))
    try:
        if "templates" in page.parts:
            reader.type(Step(f"interlock init made --template {page.parent.name} && cd made", []), "before")
        yield from reader.follow(page.read_text())
    finally:
        reader.close()


def write(page: Path) -> None:
    """Put into a page what came where it says something else, up to where it cannot be followed."""
    before = page.read_text()
    changes: list[tuple[tuple[int, int], str]] = []
    try:
        with TemporaryDirectory() as folder:
            # What a page has up to where it cannot be followed is kept.
            changes.extend(read(page, Path(folder).resolve()))
    finally:
        after = before
        for (start, end), text in reversed(changes):
            after = after[:start] + text + after[end:]
        page.write_text(after)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write(Path(name).resolve())
