"""Settings that an operator changes while everything runs: written into `malan.toml`, its comments kept, and logged.

What only whoever has the machine may change (folders, database, identity provider, processes) is not among them. Start
at `change_settings`.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core.errors import UsageError
from malan.core.numbers import read_whole
from malan.ledger.statement import Subject, urn
from malan.media.labels.provider_code import is_placeholder, provider_trouble
from malan.services.access import Caller, may, require
from malan.services.journal import Fact, record
from malan.workspace import SETTINGS_FILE, Settings, Workspace, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANGEABLE = (
    "organisation",
    "producer_code",
    "territory",
    "app_packs",
    "app_refuse",
    "model_share",
    "open_jobs",
    "result_days",
    "runs_a_day",
)
SEVERITIES = ("block", "major", "minor", "info")
_LONGEST = 200


def settings_page(ws: Workspace, *, caller: Caller) -> dict[str, Any]:
    """What may be changed, as it stands, and what it is when nobody says."""
    require(caller, "settings")
    now, plain = read_settings(ws.root / SETTINGS_FILE), Settings()
    rows = [{"name": name, "value": getattr(now, name), "default": getattr(plain, name)} for name in CHANGEABLE]
    return {"settings": rows, "may_change": may(caller, "settings")}


def change_settings(ws: Workspace, said: Mapping[str, str], *, caller: Caller) -> tuple[str, ...]:
    """Write down what differs from what holds, and go by it from now on; the names of what was changed.

    Raises:
        NotGranted: The caller may not.
        UsageError: A value makes no sense; nothing is changed then.
    """
    require(caller, "settings")
    path, plain = ws.root / SETTINGS_FILE, Settings()
    now = read_settings(path)
    wanted = {name: _value(name, said[name], getattr(plain, name)) for name in CHANGEABLE if name in said}
    changed = {name: value for name, value in wanted.items() if value != getattr(now, name)}
    if not changed:
        return ()
    _write(path, path.read_text("utf-8"), changed)
    tag = secrets.token_hex(32)
    record(
        ws,
        [Fact("settings.change", (Subject(urn("settings", tag), tag),), "settings", facts={"names": sorted(changed)})],
    )
    return tuple(sorted(changed))


def _value(name: str, text: str, default: int | str) -> int | str:
    """A value as it is written down.

    Raises:
        UsageError: It makes no sense.
    """
    plain = text.strip()
    if isinstance(default, int):
        if (count := read_whole(plain, 7)) is None:
            raise UsageError("admin.no_count", text=plain[:40])
        return count
    if len(plain) > _LONGEST or not plain.isprintable():
        raise UsageError("admin.bad_setting", name=name, value=plain[:40])
    trouble = next(_troubles(name, plain), None)
    if trouble:
        raise trouble
    return plain


def _troubles(name: str, plain: str) -> Iterator[UsageError]:
    """What is wrong with a text, beyond its length."""
    if name == "producer_code" and plain:
        if is_placeholder(plain):
            yield UsageError("label.placeholder", value=plain[:40])
        if code := provider_trouble(plain):
            yield UsageError(code, key="producer_code", value=plain[:40])
    if name == "territory" and not re.fullmatch("([A-Z]{2})?", plain):
        yield UsageError("admin.bad_setting", name=name, value=plain[:40])
    if name == "app_refuse" and plain not in SEVERITIES:
        yield UsageError("admin.bad_setting", name=name, value=plain[:40])


def _write(path: Path, text: str, changed: Mapping[str, int | str]) -> None:
    """Put values where their lines stand, commented out or not, keep what follows on the line, and swap the file."""
    for name, value in changed.items():
        line = f"{name} = {json.dumps(value, ensure_ascii=False)}"
        stands = re.compile(rf'^(?:#[ \t]*)?{name}[ \t]*=[ \t]*(?:"(?:[^"\\]|\\.)*"|\d+)', re.MULTILINE)
        found = list(stands.finditer(text))
        live = [one for one in found if not one.group().startswith("#")]
        at = next(iter(live or found), None)
        text = f"{text.rstrip()}\n{line}\n" if at is None else text[: at.start()] + line + text[at.end() :]
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    fresh = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        read_settings(fresh)
        fresh.chmod(path.stat().st_mode & 0o777)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
