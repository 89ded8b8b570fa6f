"""From a project's folder to its Plan: settings read, modules imported, declarations checked against both."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import NamedTuple

from interlock.core.errors import SpecError
from interlock.runtime.settings import Settings, Setup, read_settings
from interlock.spec.check import check, planned
from interlock.spec.declare import Integration
from interlock.spec.findings import Finding, Known
from interlock.spec.plan import Plan, Where

_NOT_OURS = frozenset({"site-packages", ".venv", "node_modules"})


class Loaded(NamedTuple):
    """What a project is. `plan` is None if a finding is an error."""

    settings: Settings
    integrations: Sequence[Integration]
    findings: Sequence[Finding]
    plan: Plan | None


def load(setup: Setup, *, known: Known | None = None) -> Loaded:
    """Read, import and check. Code of the user runs only as far as importing it does.
    What a module of the user's raises meanwhile is a finding at the line that raised it.
    """
    settings, wrong, texts = read_settings(setup)
    findings = list(wrong)
    integrations: list[Integration] = []
    lost = False
    for name in settings.app.modules:
        found, missing = _integrations(name, settings)
        integrations.extend(integration for integration in found if integration not in integrations)
        findings.extend(missing)
        lost = lost or bool(missing)
    if not settings.app.modules and not any(finding.rule == "settings.not-toml" for finding in findings):
        where = settings.origins.get(("app", "modules"), Where(str(setup.folder / "interlock.toml"), 1))
        fix = 'Write modules = ["payments"] under [app], the modules that declare integrations.'
        findings.append(Finding("settings.no-modules", "error", "app.modules", where, "it names no module", fix))
    sources = dict(texts) | dict(_sources(setup.folder))
    # What a module that cannot be read declares is not known to be missing.
    checked = check(integrations, settings.bindings, known=known, sources=sources)
    findings += [finding for finding in checked if not (lost and finding.rule == "spec.binding-unknown")]
    failed = any(finding.severity == "error" for finding in findings)
    return Loaded(settings, integrations, findings, None if failed else planned(integrations, settings.bindings))


def _integrations(name: str, settings: Settings) -> tuple[list[Integration], list[Finding]]:
    """The integrations of `module` or `module:attribute`."""
    module_name, _, attribute = name.partition(":")
    folder = str(settings.folder.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = import_module(module_name)
    except Exception as error:  # noqa: BLE001  # whatever a module raises while it is imported
        return [], [_not_imported(name, error, settings)]
    named = [getattr(module, attribute, None)] if attribute else list(vars(module).values())
    found = [value for value in named if isinstance(value, Integration)]
    if found:
        return found, []
    fix = 'Name a module that holds an Integration, as "payments" or "payments:payments".'
    return [], [
        Finding("settings.no-integration", "error", name, _modules_place(settings), "no Integration is there", fix)
    ]


def _not_imported(name: str, error: Exception, settings: Settings) -> Finding:
    """An import that failed, at the line of the user's code that did."""
    frames = [frame for frame in extract_tb(error.__traceback__) if _is_ours(Path(frame.filename), settings.folder)]
    where = Where(frames[-1].filename, frames[-1].lineno or 1) if frames else _modules_place(settings)
    match error:
        case SyntaxError(filename=str(file), lineno=int(line)):
            return Finding("spec.not-python", "error", name, Where(file, line), str(error.msg), "Mend the line.")
        case SpecError():
            return Finding(error.code, "error", name, where, error.message, error.remedy)
        case _:
            why = f"it cannot be imported: {type(error).__name__}: {error}"
            named = isinstance(error, ImportError) or not frames
            fix = "Mend the import, or the name under [app]." if named else "Mend the line."
            return Finding("spec.not-importable", "error", name, where, why, fix)


def _modules_place(settings: Settings) -> Where:
    return settings.origins.get(("app", "modules"), Where("interlock.toml", 1))


def _sources(folder: Path) -> Iterator[tuple[str, str]]:
    """The text of every imported module of the project."""
    for name, module in list(sys.modules.items()):
        file = None if name.partition(".")[0] == "interlock" else _file(module)
        if file and _is_ours(file, folder) and file.is_file():
            yield str(file), file.read_text(encoding="utf-8", errors="replace")


def _file(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file) if isinstance(file, str) and file.endswith(".py") else None


def _is_ours(file: Path, folder: Path) -> bool:
    home = folder.resolve()
    return file.is_relative_to(home) and not _NOT_OURS.intersection(file.relative_to(home).parts)
