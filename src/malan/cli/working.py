"""What the commands that work off a queue share: their options, and when they are to end.

Start at `is_to_stop`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Annotated

import typer

from malan.cli.show import speak

OnceOption = Annotated[bool, typer.Option("--once", help=speak("cli.run.once"))]
IdleOption = Annotated[float | None, typer.Option(min=0, help=speak("cli.run.idle"), show_default=False)]
ParentOption = Annotated[int | None, typer.Option("--with", help=speak("cli.run.with"), show_default=False)]


def is_to_stop(parent: int | None) -> Callable[[], bool]:
    """Whether to end: an interrupt or a termination came since, or the parent is gone.

    Args:
        parent: The process to end with; None: nobody's.
    """
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    return lambda: asked.is_set() or parent not in (None, os.getppid())
