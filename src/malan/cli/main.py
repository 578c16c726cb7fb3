"""The command tree. A command module is imported when one of its commands is asked for, so help answers at once.

A new group of commands is one module with an `app` and one line in `GROUPS`; a new plain command one line in `PLAIN`.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from malan.cli.show import fail, speak
from malan.core.errors import MalanError

GROUPS = (
    "asset",
    "clip",
    "dataset",
    "output",
    "terms",
    "product",
    "contract",
    "grant",
    "algorithm",
    "log",
    "key",
    "party",
    "media",
    "job",
    "exchange",
    "run",
    "settle",
    "model",
    "app",
    "gateway",
    "review",
)
PLAIN = ("init", "up", "demo")


class LazyGroup(TyperGroup):
    """Commands by name; modules are loaded on first use."""

    def list_commands(self, _ctx: Any) -> list[str]:
        return [*GROUPS, *PLAIN]

    def get_command(self, _ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in (*GROUPS, *PLAIN):
            return None
        command = get_command(importlib.import_module(f"malan.cli.{cmd_name}").app)
        command.name = cmd_name
        return command

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        """The list of commands, from the catalogue: nothing is imported for it."""
        with formatter.section(speak("cli.commands")):
            formatter.write_dl([(name, speak(f"cli.{name}")) for name in (*GROUPS, *PLAIN)])


app = typer.Typer(
    cls=LazyGroup, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)


@app.callback(help=speak("cli.malan"))
def _root(
    version: bool = typer.Option(False, "--version", help=speak("cli.version"), is_eager=True),
) -> None:
    if version:
        from malan import __version__

        print(f"malan {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: run the command; an error of ours becomes one line, a hint and its exit code."""
    try:
        app()
    except MalanError as error:
        sys.exit(fail(error))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
