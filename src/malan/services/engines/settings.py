"""`models.toml`: the engines of a workspace, and the names under which they are asked for.

    [engines.qwen]                          [routes]
    kind = "chat"                           "gpt-4o" = ["qwen", "deepseek"]     # in order of fallback
    backend = "openai"
    url = "http://127.0.0.1:11434/v1"
    model = "qwen3:8b"

Read strictly: what is not known is an error that names its place. Keys are never in it, only the names of environment
variables that hold them. Nothing is opened here. Start reading at `read_engines`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlsplit

from malan.core.errors import NotFound, StoreError, UsageError
from malan.inference.backends import KINDS, Kind

if TYPE_CHECKING:
    from malan.workspace import Workspace

ENGINES_FILE = "models.toml"
COMMERCIAL, RESEARCH = PURPOSES = ("commercial", "research")
_NAME = re.compile(r"[\w][\w.:/@+-]{0,79}")
_DEVICE = re.compile(r"[a-z]{2,10}(:[\w-]{1,20})?", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}", re.ASCII)
_SECRETS = ("key", "api_key", "token", "password", "secret")
_MOST_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One engine as it is written down.

    Args:
        name: What it is called here.
        kind: Which protocol of `inference/backends.py` it follows.
        backend: Who runs it: a name of the table in `services/engines/opening.py`.
        model: Remote: what it is called there. Local: a base of the registry, by name, name@version or digest.
        url: Remote ones only.
        key_env: Name of the environment variable that holds the key of a remote one.
        device: `cpu`, `cuda:0`, …; what stands on one device runs one after the other. `cpu:speech` is the processor
            under a lock of its own.
        idle_s: Closed when nobody asked for so long.
        timeout_s: Remote: how long it may say nothing.
        at_once: Remote: how many may ask at the same time; 0: no limit of ours.
        memory_mb: What it needs to stand; 0: told from its files.
        most_memory_mb: The most it may take, for weights and one ask together; 0: what its device has.
        purpose: `commercial` or `research`; the licence of the weights is asked with it.
        territory: Where it is used, where that is not what `malan.toml` says.
        options: What only its backend understands.
    """

    name: str
    kind: Kind
    backend: str
    model: str = ""
    url: str = ""
    key_env: str = ""
    device: str = "cpu"
    idle_s: float = 600.0
    timeout_s: float = 120.0
    at_once: int = 0
    memory_mb: int = 0
    most_memory_mb: int = 0
    purpose: str = COMMERCIAL
    territory: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_remote(self) -> bool:
        return bool(self.url)

    @property
    def is_commercial(self) -> bool:
        return self.purpose == COMMERCIAL


@dataclass(frozen=True, slots=True)
class EngineBook:
    """All engines, and the names that lead to them."""

    engines: Mapping[str, EngineRow]
    routes: Mapping[str, tuple[str, ...]]

    def row(self, name: str) -> EngineRow:
        """Raises:
        NotFound: No engine is called so.
        """
        if name not in self.engines:
            raise NotFound("engines.none", name=name[:80], known=", ".join(self.engines) or "–")
        return self.engines[name]

    def routed(self, name: str) -> tuple[EngineRow, ...]:
        """The engines a name leads to, in order of fallback: those of its route, else the engine of that name.

        Raises:
            NotFound: It leads nowhere.
        """
        return tuple(self.row(one) for one in self.routes.get(name, (name,)))

    def of_kind(self, kind: Kind) -> tuple[EngineRow, ...]:
        """All engines of a kind, as written."""
        return tuple(row for row in self.engines.values() if row.kind == kind)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that can be asked for."""
        return tuple(dict.fromkeys([*self.engines, *self.routes]))


def read_engines(ws: Workspace) -> EngineBook:
    """The engines of a workspace; none where there is no `models.toml`.

    Raises:
        UsageError: The file does not parse, or holds what is not known or makes no sense; the place is named.
        StoreError: It cannot be read.
    """
    path = ws.root / ENGINES_FILE
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _wrong("–", f"> {_MOST_BYTES} bytes")
        return parse_engines(path.read_text("utf-8"))
    except FileNotFoundError:
        return EngineBook(MappingProxyType({}), MappingProxyType({}))
    except UnicodeDecodeError as error:
        raise _wrong("–", str(error)) from error
    except OSError as error:
        raise StoreError("engines.unreadable", path=str(path), detail=error.strerror or "") from error


def parse_engines(text: str) -> EngineBook:
    """The same from the words of the file."""
    try:
        said = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _wrong("–", str(error)) from error
    for name in said:
        if name not in ("engines", "routes", "prices"):  # prices are read by `gateway.prices`
            raise _wrong(name, "engines, routes, prices")
    engines = {name: _row(name, row) for name, row in _table(said, "engines").items()}
    routes = {name: _route(name, to, engines) for name, to in _table(said, "routes").items()}
    return EngineBook(MappingProxyType(engines), MappingProxyType(routes))


def _table(said: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = said.get(name, {})
    if not isinstance(table, dict):
        raise _wrong(name, "[…]")
    for one in table:
        if not _NAME.fullmatch(one):
            raise _wrong(f"{name}.{one[:80]}", "a–z 0–9 . _ - : / @ +")
    return table


def _row(name: str, said: Any) -> EngineRow:
    place = f"engines.{name}"
    if not isinstance(said, dict):
        raise _wrong(place, "[engines.…]")
    defaults = {one.name: one for one in fields(EngineRow) if one.name != "name"}
    for key, value in said.items():
        if key in _SECRETS:
            raise UsageError("engines.secret", place=f"{place}.{key}")
        if key not in defaults:
            raise _wrong(f"{place}.{key}", ", ".join(defaults))
        _check_sort(f"{place}.{key}", value, str(defaults[key].type))
    for key in ("kind", "backend"):
        if key not in said:
            raise _wrong(f"{place}.{key}", "?")
    row = EngineRow(name, **said)
    _check(place, row)
    return row


def _check_sort(place: str, value: Any, sort: str) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "float": is_number,
        "int": is_number and isinstance(value, int),
        "Mapping[str, Any]": isinstance(value, dict),
    }.get(sort, isinstance(value, str) and value.isprintable() and len(value) <= 500)
    if not fits:
        raise _wrong(place, {"float": "0.0", "int": "0", "Mapping[str, Any]": "{…}"}.get(sort, '"…"'))


def _check(place: str, row: EngineRow) -> None:
    """What each value must be."""
    checks = {
        "kind": (row.kind in KINDS, ", ".join(get_args(Kind))),
        "backend": (_NAME.fullmatch(row.backend), "openai, diffusers, …"),
        "url": (not row.url or _is_plain(row.url), "http://… https://…"),
        "key_env": (not row.key_env or (row.url and _VARIABLE.fullmatch(row.key_env)), "QWEN_KEY"),
        "device": (_DEVICE.fullmatch(row.device), "cpu, cpu:speech, cuda:0"),
        "idle_s": (0 <= row.idle_s <= 10**7, "0–10000000"),
        "timeout_s": (0 < row.timeout_s <= 86_400, "0–86400"),
        "at_once": (0 <= row.at_once <= 10**6, "0–1000000"),
        "memory_mb": (0 <= row.memory_mb <= 10**9, "0–1000000000"),
        "most_memory_mb": (0 <= row.most_memory_mb <= 10**9, "0–1000000000"),
        "purpose": (row.purpose in PURPOSES, ", ".join(PURPOSES)),
        "territory": (not row.territory or re.fullmatch("[A-Z]{2}", row.territory), "CN"),
        "model": (row.model or not row.url, "?"),
    }
    for key, (fits, known) in checks.items():
        if not fits:
            raise _wrong(f"{place}.{key}", known)


def _is_plain(url: str) -> bool:
    """An address of the web without a name or password in it."""
    try:
        said = urlsplit(url)
        return said.scheme in ("http", "https") and bool(said.hostname) and said.username is None and said.port != 0
    except ValueError:
        return False


def _route(name: str, to: Any, engines: Mapping[str, EngineRow]) -> tuple[str, ...]:
    """Engines that are there, each once, all of one kind: what answers for another must be able to."""
    place = f"routes.{name}"
    if not isinstance(to, list) or not to or not all(isinstance(one, str) for one in to) or len(set(to)) != len(to):
        raise _wrong(place, '["…", "…"]')
    for one in to:
        if one not in engines:
            raise _wrong(place, f"{one[:80]} ∉ {', '.join(engines) or '–'}")
    if len({engines[one].kind for one in to}) > 1:
        raise _wrong(place, ", ".join(f"{one}: {engines[one].kind}" for one in to))
    return tuple(to)


def _wrong(place: str, detail: str) -> UsageError:
    return UsageError("engines.bad_settings", file=ENGINES_FILE, place=place, detail=detail[:300])
