"""Engines, opened: the licence is asked each time, weights are certain to be those of the registry, one at a time on a
device, loaded when asked for and closed when nobody has asked for a while.

    open_engine ─▶ row of models.toml ─▶ may it? ─▶ lock of its device ─▶ loaded already? ─▶ backend ─▶ Engine

Start reading at `open_engine`; a backend is one line of `BACKENDS`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from malan.core.errors import NotFound, UsageError
from malan.inference.backends import Engine, Kind, Stop, go_on
from malan.inference.opening import Opening
from malan.models.base_files import BaseModel
from malan.services.access import HOUSE, Caller
from malan.services.engine_settings import EngineRow, read_engines
from malan.services.model_rights import Asked, require_model_use
from malan.services.model_rows import find_model

if TYPE_CHECKING:
    from malan.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Backend:
    """Who opens engines: the kinds it can, and the function `module:name(Opening) -> Engine`, imported when needed."""

    opens: str
    kinds: frozenset[Kind]
    is_remote: bool = False
    needs_weights: bool = True

    def open(self, opening: Opening) -> Engine:
        """Raises:
        MissingExtra: What it needs is not installed.
        """
        module, _, name = self.opens.partition(":")
        opener: Callable[[Opening], Engine] = getattr(importlib.import_module(module), name)
        return opener(opening)


def _kinds(*names: Kind) -> frozenset[Kind]:
    return frozenset(names)


BACKENDS: Mapping[str, Backend] = {
    "diffusers": Backend("malan.inference.diffusion:open_diffusion", _kinds("video", "image")),
    "ace-step": Backend("malan.inference.ace_step:open_ace_step", _kinds("music")),
}
"""Every backend, by the name `models.toml` uses."""


@contextmanager
def open_engine(
    ws: Workspace, name: str, kind: Kind, *, caller: Caller = HOUSE, asked: Asked | None = None, stop: Stop = go_on
) -> Iterator[Engine]:
    """An engine that stands ready, for as long as it is used.

    Args:
        ws: Whose `models.toml`.
        name: Of an engine.
        kind: What it must be.
        caller: On whose behalf; sub-models it attaches must be this caller's to use.
        asked: What it is used for, for the licence of its weights: `apply` unless said otherwise.
        stop: Raises when whoever asked does not want it any more; asked while waiting and while loading.

    Raises:
        NotFound: There is no such engine, or its weights are not here.
        UsageError: It is of another kind, or written down wrongly.
        NotGranted: A licence, an owner or a retirement forbids it; every reason is in the message.
        ProofError: Its weights are not what was registered.
        MissingExtra: Its backend is not installed.
    """
    row = read_engines(ws).row(name)
    backend = check_row(row, kind)
    opening = _opening(
        ws, row, backend, caller, asked or Asked("apply", row.is_commercial, row.territory or None), stop
    )
    engine = backend.open(opening)
    try:
        yield engine
    finally:
        engine.close()


def check_row(row: EngineRow, kind: Kind) -> Backend:
    """The backend of an engine that is of the kind asked for.

    Raises:
        UsageError: There is no such backend, it does not make this kind, or the engine is of another.
    """
    if row.kind != kind:
        raise UsageError("engines.other_kind", name=row.name, kind=row.kind, wanted=kind)
    backend = BACKENDS.get(row.backend)
    if backend is None:
        raise UsageError("engines.no_backend", name=row.name, backend=row.backend, known=", ".join(BACKENDS))
    if kind not in backend.kinds:
        raise UsageError(
            "engines.not_its_kind",
            name=row.name,
            backend=row.backend,
            kind=kind,
            known=", ".join(sorted(backend.kinds)),
        )
    if backend.is_remote != row.is_remote:
        raise UsageError("engines.url", name=row.name, backend=row.backend)
    return backend


def _opening(ws: Workspace, row: EngineRow, backend: Backend, caller: Caller, asked: Asked, stop: Stop) -> Opening:
    plain = Opening(row.name, row.kind, row.device, options=row.options, stop=stop)
    if row.is_remote:
        return replace(plain, model=row.model, url=row.url, key=_key(row), timeout_s=row.timeout_s, at_once=row.at_once)
    if not backend.needs_weights:
        return plain
    model = find_model(ws, row.model)
    require_model_use(ws, model, asked, caller=caller)
    if not model.place:
        raise NotFound("models.not_a_base", path=model.title)
    base = BaseModel.from_value(model.place)
    return replace(plain, model=model.title, folder=base.folder, files=base.check(), family=model.family)


def _key(row: EngineRow) -> str:
    """Raises:
    UsageError: The environment holds no key of that name.
    """
    if not row.key_env:
        return ""
    key = os.environ.get(row.key_env, "").strip()
    if not key or not key.isprintable():
        raise UsageError("engines.no_key", name=row.name, variable=row.key_env)
    return key
