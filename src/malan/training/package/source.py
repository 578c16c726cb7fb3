"""Python of strangers as a syntax tree: read as text, bounded, never run.

What would take a parser long (megabytes, thousands of braces in one text) is not read, and said to be unreadable. Start
reading at `parse_source`.
"""

from __future__ import annotations

import ast
import warnings

MOST_BYTES = 100_000
MOST_BRACES = 3_000


class Unreadable(Exception):
    """Why a source is not read: in a few words."""


def parse_source(data: bytes) -> ast.Module:
    """The tree of a source.

    Raises:
        Unreadable: It is no Python, or too much of it.
    """
    if len(data) > MOST_BYTES or data.count(b"{") > MOST_BRACES:
        raise Unreadable(f"> {MOST_BYTES} bytes" if len(data) > MOST_BYTES else f"> {MOST_BRACES} braces")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(f"{type(error).__name__}: {str(error)[:80]}") from None
