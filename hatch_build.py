"""Compiles the hot path for a wheel: the same source as C, by mypyc (docs/decisions/0013-the-hot-path-is-compiled.md).

It is off unless asked for with `HATCH_BUILD_HOOK_ENABLE_CUSTOM=1`: a checkout and a plain installation run the source.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from mypyc.build import mypycify
from setuptools import Distribution

COMPILED = {
    "core": "ids redact",
    "wire": "answers chunked connection deadlines durations fields head pool refusals request served server upstream",
    "edge": "admission app cloudevents events fields receipt router",
    "telemetry": "emit metrics",
    "security": "access",
    "delivery": "attempt changes fleet gaps guard keys lane marks passing reading ready schedule start tail timers "
    "turn",
    "call": "classify effect gate gcra judge limit timeout trace usercode",
    "systems": "authorization fields http registry target",
    "journal": "writer",
    "journal/sqlite": "ledger log statements",
    "spec": "identity jsontext model",
    "runtime": "clock",
}
"""What an event passes on its way; nothing that only starts, configures or administers, and no module of values."""


class CompiledHook(BuildHookInterface[Any]):
    """Adds the compiled modules beside their sources; Python prefers them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, unless it is an editable installation, which runs the source."""
        if self.target_name != "wheel" or version == "editable":
            return
        work = Path(self.root) / "build" / "mypyc"
        shutil.rmtree(work, ignore_errors=True)
        for library in compiled(Path(self.root) / "src", work):
            build_data["force_include"][str(library)] = str(library.relative_to(work / "lib"))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def compiled(source: Path, work: Path) -> list[Path]:
    """Compile the modules; the libraries are in `work/lib`, laid out as the package is."""
    work.mkdir(parents=True)
    with contextlib.chdir(source):
        files = [f"interlock/{floor}/{name}.py" for floor, names in COMPILED.items() for name in names.split()]
        options = ["--python-version=3.11", "--follow-imports=silent", "--no-warn-return-any", *files]
        extensions = mypycify(
            options, opt_level="2", debug_level="0", multi_file=True, group_name="interlock", target_dir=str(work / "c")
        )
        command = Distribution({"name": "interlock", "ext_modules": extensions}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = str(work / "lib"), str(work / "temp")
        command.parallel = os.cpu_count()
        command.ensure_finalized()
        command.run()
    return sorted((work / "lib").rglob("*.so"))
