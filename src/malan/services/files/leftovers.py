"""Files that a killed process left half made beside its outputs: named after it, and deleted by the next one.

Start at `sweep`.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(r"\.malan-([0-9]{1,7})-[0-9a-f-]+(-work|-bare|-labelled|-work-labelled)?(\.part)?(\.[0-9a-z]+)?")
_OLD_S = 3600  # younger ones may be another machine's, on a disk both use


def sweep(folder: Path) -> None:
    """Delete what processes that are gone left in a folder an hour ago or longer."""
    for path in folder.glob(".malan-*"):
        named = _NAME.fullmatch(path.name)
        with suppress(OSError):
            if named and not _is_running(int(named[1])) and time.time() - path.lstat().st_mtime > _OLD_S:
                path.unlink()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
