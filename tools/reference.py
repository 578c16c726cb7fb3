"""Write docs/reference/*.md from the code: commands, settings, messages, kinds. `make reference`; a test compares.

What is written here cannot fall behind: commands come from the command tree, errors and hints from the catalogue.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("commands", "messages", "settings", "kinds")


def main() -> None:
    for name, text in pages().items():
        (ROOT / "docs" / "reference" / f"{name}.md").write_text(text, "utf-8")


def pages() -> dict[str, str]:
    """Every page and what it should say now."""
    os.environ["MALAN_LANG"] = "en"
    return {name: globals()[f"_{name}"]() for name in PAGES}


def _commands() -> str:
    from typer.main import get_command

    from malan.cli.main import GROUPS, PLAIN
    from malan.core.catalogue import entry

    lines = ["# Commands", "", "Exit codes: 0 done, 1 failed, 2 misuse, 3 not allowed, 4 proof wrong.", ""]
    for name in (*GROUPS, *PLAIN):
        lines += [f"## malan {name}", "", f"{entry(f'cli.{name}').text('en')} / {entry(f'cli.{name}').text('zh')}", ""]
        command: Any = get_command(importlib.import_module(f"malan.cli.{name}").app)
        for part, sub in sorted(_leaves(command)):
            if part:
                lines += [f"### malan {name} {part}", "", f"{sub.help or ''}", ""]
            lines += [*_parameters(sub), ""]
    return "\n".join(lines).rstrip() + "\n"


def _leaves(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command below a group, with its words: `label write`."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    for part, sub in (inner or {}).items():
        yield from _leaves(sub, f"{name} {part}".strip())


def _parameters(command: Any) -> list[str]:
    rows = ["| Parameter | What | Default |", "|---|---|---|"]
    for parameter in command.params:
        if parameter.name == "help":
            continue
        names = (
            "`" + "`, `".join(parameter.opts) + "`" if parameter.param_type_name == "option" else f"`{parameter.name}`"
        )
        default = parameter.default
        shown = "" if default in (None, False, (), "") or callable(default) else f"`{default}`"
        text = (getattr(parameter, "help", "") or "").replace("|", "\\|")
        rows.append(f"| {names} | {text} | {shown} |")
    return rows


def _messages() -> str:
    from malan.core.catalogue import catalogue

    lines = ["# Error codes and messages", "", "Codes are stable; `{…}` is filled with the values of the case.", ""]
    area = ""
    for code, message in sorted(catalogue().items()):
        if code.startswith(("cli.", "web.")):
            continue
        if (new := code.partition(".")[0]) != area:
            area = new
            lines += ["", f"## {area}", "", "| Code | English | 中文 |", "|---|---|---|"]
        cells = [
            " ".join(filter(None, (message.words[lang], message.words.get(f"hint_{lang}")))) for lang in ("en", "zh")
        ]
        lines.append("| `" + code + "` | " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _settings() -> str:
    from dataclasses import fields

    from malan.workspace import Settings

    lines = ["# Settings", "", "`malan.toml` in the workspace folder; every one has a default.", ""]
    lines += ["| Setting | Default |", "|---|---|", *(f"| `{f.name}` | `{f.default}` |" for f in fields(Settings))]
    lines += ["", "Environment: `MALAN_WORKSPACE` (folder), `MALAN_LANG` (`en`, `zh`), `MALAN_DEBUG` (tracebacks)."]
    lines += [
        "",
        "`MALAN_DSP_TEST_SEED` (file): the connector in test mode, for conformance suites only. Partners, and the",
        "address of the connector, stand in `exchange.toml` beside `malan.toml`: [the design](../design/exchange.md).",
    ]
    return "\n".join(lines) + "\n"


def _kinds() -> str:
    from malan.curation.operators import BUILT_IN

    lines = [
        "# Operators and kinds of finding",
        "",
        "What the first scan learns. A new operator is one file, one line, one test.",
    ]
    lines += ["", "| Operator | Version | Reads | Emits | What |", "|---|---|---|---|---|"]
    for operator in BUILT_IN:
        what = (type(operator).__doc__ if not isinstance(operator, type) else operator.__doc__) or ""
        reads, emits = (", ".join(f"`{kind}`" for kind in sorted(kinds)) for kinds in (operator.reads, operator.emits))
        lines.append(f"| `{operator.name}` | {operator.version} | {reads} | {emits} | {what.splitlines()[0]} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
