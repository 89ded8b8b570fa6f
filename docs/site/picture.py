"""Makes the picture of the demo, `docs/demo.svg`, from `demo.ansi`: what a run of `interlock demo` wrote to a terminal.

`python docs/site/picture.py --record` plays the demo first, and takes down what it writes.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

HERE = Path(__file__).parent
RECORDED, PICTURE = HERE / "demo.ansi", HERE.parent / "demo.svg"
COMMAND = ("interlock", "demo", "--headless", "--assert", "--speed", "8")
THEME = TerminalTheme(
    (22, 27, 34),
    (209, 215, 224),
    # Black, red, green, yellow, blue, magenta, cyan, white.
    [
        (72, 79, 88),
        (255, 123, 114),
        (86, 211, 100),
        (227, 179, 65),
        (121, 192, 255),
        (210, 168, 255),
        (86, 212, 221),
        (177, 186, 196),
    ],
)
# As rich's own, without the font that it loads from elsewhere and the window around it.
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>interlock demo</title>
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "SFMono-Regular", "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
<rect fill="#161b22" x="1" y="1" width="{width}" height="{height}" rx="8"/>
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def record() -> str:
    """Play the demo in a terminal, and give what it writes; where its folder was is not told."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([Path(sys.executable).with_name(COMMAND[0]), *COMMAND[1:]], stdout=theirs) as process:
        os.close(theirs)
        written = b""
        while part := _read(ours):
            written += part
    os.close(ours)
    if process.returncode:
        sys.exit(written.decode())
    return re.sub(r"\S*/interlock-demo-\w+", "/tmp/interlock-demo", written.decode().replace("\r\n", "\n"))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # its other end is closed
        return b""


def drawn(recorded: str) -> str:
    """The picture of what was written."""
    text = Text(f"$ {' '.join(COMMAND)}\n") + Text.from_ansi(recorded)
    width = max(map(len, text.plain.splitlines())) + 1
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(text, soft_wrap=True)
    drawing = console.export_svg(title="", theme=THEME, code_format=FORMAT, unique_id="demo")
    return re.sub(r"[ \t]+$", "", drawing, flags=re.MULTILINE)


def shapes(told: str) -> set[str]:
    """The kinds of lines of a story: what differs from run to run is left out."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", told)
    found = (re.sub(r"[\d,.]+", "#", " ".join(line.split())) for line in plain.splitlines())
    told_once = (re.sub(r"# (ok|OPEN|HALF-OPEN|RAMPING)\b", "# STATE", line) for line in found)
    return {re.sub(r"~ \w+ \S+ x#", "~ SYSTEM KIND x#", line) for line in told_once if line and "/tmp/" not in line}


if __name__ == "__main__":
    if sys.argv[1:] == ["--record"]:
        RECORDED.write_text(record())
    PICTURE.write_text(drawn(RECORDED.read_text()))
