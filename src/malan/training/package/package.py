"""A package of an algorithm: what its `algorithm.toml` says, typed, and the files it stands for.

    folder ─ read_folder ─▶ files ─ package_of ─▶ Package(identity, data, parameters, entry, outputs, …, digest)

Everything wrong with a package is told at once by `check_folder`; `read_package` raises the first of it. Nothing of it
is run or imported. Start reading at `Package`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malan.core.errors import MalanError, UsageError
from malan.training.gate.metrics import MOST_METRICS, Metric
from malan.training.package.environment import Environment, Resources, read_environment, read_resources
from malan.training.package.folder import check_files_limits, digest_files, read_folder
from malan.training.package.hints import Hint, find_hints
from malan.training.package.outputs import OutputRule, check_names, read_output
from malan.training.package.parameters import MOST_PARAMETERS, NAME, Parameter, read_parameter, read_words
from malan.training.package.request import Data, Smoke, read_data, read_smoke
from malan.training.package.source import Unreadable, parse_source
from malan.training.package.tables import MANIFEST, Reader, Table

RESERVED = ("malan_run.", "malan_inside")
"""How files that the sandbox puts beside the package begin."""

PHASES = ("prepare", "train", "evaluate", "export", "sample")
MEASURES = ("planted", "twin", "frames")
"""How what was learned by heart can be told: canaries planted in the training itself, or in a second one like it whose
weights are thrown away, or pictures that the model draws, held against the footage."""

_ALGORITHM = "[a-z][a-z0-9-]{1,39}"
_VERSION = r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})(-[0-9a-z.-]{1,20})?"
_LICENCE = r"[A-Za-z0-9][A-Za-z0-9.+() -]{0,79}"
_ENTRY = r"[A-Za-z_][A-Za-z0-9_.]{0,79}:[A-Za-z_][A-Za-z0-9_]{0,59}"


@dataclass(frozen=True)
class Package:
    """An algorithm as its author wrote it. The same files have the same digest, wherever they lie.

    `families` are the base models it starts from (empty: from scratch), `base_licences` the licences of base weights it
    accepts (empty: any). `entry` is the function of each phase, as `module:function`. `privacy` names the method that
    bounds what is learned of one clip (`dp-sgd`), or is empty. `memory` says how what it learned by heart can be told
    (one of `MEASURES`), and is empty where it cannot.
    """

    name: str
    version: str
    licence: str
    publisher: str
    title: Mapping[str, str]
    summary: Mapping[str, str]
    authors: tuple[str, ...]
    homepage: str
    families: tuple[str, ...]
    base_licences: tuple[str, ...]
    privacy: str
    memory: str
    data: Data
    parameters: tuple[Parameter, ...]
    entry: Mapping[str, str]
    environment: Environment
    resources: Resources
    outputs: Mapping[str, OutputRule]
    metrics: tuple[Metric, ...]
    smoke: Smoke | None
    files: Mapping[str, bytes]
    digest: str

    @property
    def reference(self) -> str:
        """`tagger@1.0.0`."""
        return f"{self.name}@{self.version}"

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.files.values()))


@dataclass(frozen=True)
class Report:
    """What was found in files: the package when it is sound, all that is wrong otherwise, and hints for a reviewer."""

    package: Package | None
    problems: tuple[MalanError, ...]
    hints: tuple[Hint, ...] = ()


def read_package(folder: Path, *, hard_links: bool = False) -> Package:
    """The package in a folder.

    Raises:
        NotFound: There is no such folder.
        UsageError: It is no sound package; the first thing that is wrong.
    """
    return package_of(read_folder(folder, hard_links=hard_links))


def package_of(files: Mapping[str, bytes], *, reads_code: bool = True) -> Package:
    """The package that files make.

    Args:
        files: All of them, by path.
        reads_code: Whether to look for the functions of the phases; not needed for what was looked at before.

    Raises:
        UsageError: They make none; the first thing that is wrong.
    """
    package, problems = _parse(files, reads_code=reads_code)
    if package is None:
        raise problems[0]
    return package


def check_folder(folder: Path) -> Report:
    """Everything there is to say about a folder; raises nothing for what is wrong with it."""
    try:
        files = read_folder(folder)
    except MalanError as error:
        return Report(None, (error,))
    return check_files(files)


def check_files(files: Mapping[str, bytes]) -> Report:
    """The same for files that are already read."""
    package, problems = _parse(files)
    return Report(package, tuple(problems), find_hints(files))


def _parse(files: Mapping[str, bytes], *, reads_code: bool = True) -> tuple[Package | None, list[UsageError]]:
    try:
        check_files_limits(files)
    except UsageError as error:
        return None, [error]
    if MANIFEST not in files:
        return None, [UsageError("algorithm.no_manifest")]
    if reserved := [path for path in files if path.startswith(RESERVED)]:
        return None, [UsageError("algorithm.reserved_file", path=reserved[0])]
    reader = Reader(files[MANIFEST])
    if reader.problems:
        return None, reader.problems
    values = _identity(reader.top) | _rest(reader.top)
    reader.top.done()
    if not reader.problems and reads_code:
        _check_entries(reader, values["entry"], files)
    if not reader.problems:
        check_names(reader, values["parameters"], values["outputs"], values["data"])
    if reader.problems:
        return None, reader.problems
    return Package(**values, files=dict(files), digest=digest_files(files)), []


def _identity(top: Table) -> dict[str, Any]:
    table = top.table("algorithm", needed=True)
    if table is None:
        return {}
    found = {
        "name": table.text("name", pattern=_ALGORITHM),
        "version": table.text("version", pattern=_VERSION),
        "licence": table.text("licence", pattern=_LICENCE),
        "publisher": table.text("publisher", most=80),
        "title": read_words(table, "title", needed=True, most=80),
        "summary": read_words(table, "summary", needed=True, most=400),
        "authors": table.strings("authors", ()),
        "homepage": table.text("homepage", "", pattern=r"(https?://[^\s\"'<>]{1,180})?"),
    }
    table.done()
    return found


def _rest(top: Table) -> dict[str, Any]:
    parameters = {
        name: read_parameter(table, name) for name, table in top.tables("parameters", MOST_PARAMETERS, NAME).items()
    }
    return {
        **_base(top),
        "privacy": _privacy(top),
        "memory": _memory(top),
        "data": read_data(top),
        "parameters": tuple(one for one in parameters.values() if one is not None),
        "entry": _entry(top),
        "environment": read_environment(top),
        "resources": read_resources(top),
        "outputs": _outputs(top),
        "metrics": _metrics(top),
        "smoke": read_smoke(top),
    }


def _base(top: Table) -> dict[str, Any]:
    table = top.table("base")
    if table is None:
        return {"families": (), "base_licences": ()}
    families = table.strings("families", ("none",))
    licences = table.strings("licences", ())
    table.done()
    return {"families": tuple(one for one in families if one != "none"), "base_licences": licences}


def _privacy(top: Table) -> str:
    table = top.table("privacy")
    if table is None:
        return ""
    method = table.choice("method", ("dp-sgd",))
    table.done()
    return method


def _memory(top: Table) -> str:
    table = top.table("memory")
    if table is None:
        return ""
    measure = table.choice("measure", MEASURES)
    table.done()
    return measure


def _entry(top: Table) -> dict[str, str]:
    table = top.table("entry", needed=True)
    if table is None:
        return {}
    needed = ("train", "evaluate")
    found = {
        phase: table.text(phase, None if phase in needed else "", pattern=_ENTRY if phase in needed else f"({_ENTRY})?")
        for phase in PHASES
    }
    table.done()
    return {phase: text for phase, text in found.items() if text}


def _outputs(top: Table) -> dict[str, OutputRule]:
    tables = top.tables("outputs", 1, "model")
    if not tables:
        top.wrong("algorithm.missing_key", "outputs.model")
    found = {name: read_output(table) for name, table in tables.items()}
    return {name: one for name, one in found.items() if one is not None}


def _metrics(top: Table) -> tuple[Metric, ...]:
    found: list[Metric] = []
    for name, table in top.tables("metrics", MOST_METRICS, NAME).items():
        low, high = table.number("low", 0.0), table.number("high", 1.0)
        table.done()
        try:
            found.append(Metric(name, low, high))
        except UsageError:
            table.wrong("algorithm.bad_value", "high", value=f"{high:g}", wanted=f"> {low:g}")
    return tuple(found)


def _check_entries(reader: Reader, entry: Mapping[str, str], files: Mapping[str, bytes]) -> None:
    """Each phase names a function that a file of the package defines; files are read as text, not run."""
    for phase, text in entry.items():
        module, _, function = text.partition(":")
        path = module.replace(".", "/")
        found = next((name for name in (f"{path}.py", f"{path}/__init__.py") if name in files), None)
        if found is None:
            reader.wrong("algorithm.no_module", f"entry.{phase}", module=module, file=f"{path}.py")
        elif (problem := _lacks(files[found], function)) is not None:
            reader.wrong("algorithm.no_function", f"entry.{phase}", function=function, file=found, detail=problem)


def _lacks(source: bytes, function: str) -> str | None:
    """Why a file does not define a function at its top; None when it does, or brings it in from another file."""
    try:
        tree = parse_source(source)
    except Unreadable as error:
        return str(error)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return None
        names = node.names if isinstance(node, ast.Import | ast.ImportFrom) else []
        if any((alias.asname or alias.name) == function for alias in names):
            return None
    return f"def {function}(job)"
