"""`python -m malan.web WORKSPACE HOST PORT [NAME…]` serves the console; `malan up` becomes this process."""

from __future__ import annotations

import sys
from pathlib import Path

from malan.core.catalogue import say
from malan.core.errors import MalanError
from malan.web.server import serve_console
from malan.workspace import Workspace


def main() -> int:
    """Serve until interrupted; an error is one line, its hint and its exit code."""
    root, host, port, *allowed = sys.argv[1:]
    try:
        serve_console(Workspace(Path(root)), port=int(port), host=host, allowed=tuple(allowed))
    except MalanError as error:
        sys.stderr.write(f"{say('cli.error')} {error.message()}\n  → {error.hint()}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
