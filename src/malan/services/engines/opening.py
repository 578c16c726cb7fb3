"""Engines, opened: the licence is asked each time, weights are certain to be those of the registry, one at a time on a
device, loaded when asked for and closed when nobody has asked for a while.

    open_engine ─▶ row of models.toml ─▶ may it? ─▶ lock of its device ─▶ loaded already? ─▶ backend ─▶ Engine

Start reading at `open_engine`; a backend is one line of `BACKENDS`; `ai_part` says what a file made by an engine must
carry.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from malan.core.errors import MissingExtra, NotFound, NotGranted, UsageError
from malan.core.ids import digest_record
from malan.inference.backends import Amount, Engine, Kind, Stop, go_on
from malan.inference.memory import Need
from malan.inference.opening import Adapter, Opening
from malan.models.base_files import BaseModel
from malan.runtime.devices import Wanted
from malan.services.access import HOUSE, Caller
from malan.services.engines.memory import check_amount, check_fits
from malan.services.engines.settings import EngineBook, EngineRow, read_engines
from malan.services.models.endpoints import endpoint_id, endpoint_of, require_endpoint_use
from malan.services.models.registry import ADAPTER, get_model, weights_path
from malan.services.models.rights import Asked, require_model_use
from malan.services.models.rows import ModelRow, find_model
from malan.services.models.weight_files import checked_files, refuse_more
from malan.services.outputs.publish import AiPart, Planned

if TYPE_CHECKING:
    from malan.workspace import Workspace

_DIFFUSION = "malan.inference.diffusion_memory:need_of"


@dataclass(frozen=True, slots=True)
class Backend:
    """Who opens engines: the kinds it can, and the function `module:name(Opening) -> Engine`, imported when needed.

    `extra` is the optional part of Malan it needs; `needs_weights` says whether its model is a base of the registry;
    `tells` is the function `module:name(Opening, Amount | None) -> Need`.
    """

    opens: str
    kinds: frozenset[Kind]
    is_remote: bool = False
    needs_weights: bool = True
    extra: str = ""
    tells: str = "malan.inference.memory:by_files"

    def tell(self, opening: Opening, amount: Amount | None) -> Need:
        """How much memory it needs, from its files alone."""
        module, _, name = self.tells.partition(":")
        found: Need = getattr(importlib.import_module(module), name)(opening, amount)
        return found

    def open(self, opening: Opening) -> Engine:
        """Raises:
        MissingExtra: What it needs is not installed.
        """
        module, _, name = self.opens.partition(":")
        try:
            opener: Callable[[Opening], Engine] = getattr(importlib.import_module(module), name)
            return opener(opening)
        except ModuleNotFoundError as error:
            missing = error.name or "?"
            if not self.extra or missing.startswith("malan"):
                raise
            raise MissingExtra("engines.extra", name=opening.name, module=missing, extra=self.extra) from error


def _kinds(*names: Kind) -> frozenset[Kind]:
    return frozenset(names)


BACKENDS: Mapping[str, Backend] = {
    "openai": Backend(
        "malan.inference.openai_endpoint:open_endpoint",
        _kinds("chat", "embeddings", "speech", "transcription", "image"),
        is_remote=True,
        needs_weights=False,
    ),
    "diffusers": Backend(
        "malan.inference.diffusion:open_diffusion", _kinds("video", "image"), extra="train", tells=_DIFFUSION
    ),
    "ace-step": Backend("malan.inference.ace_step:open_ace_step", _kinds("music"), extra="train", tells=_DIFFUSION),
    "onnx": Backend("malan.inference.onnx_backend:open_onnx", _kinds("encoder", "depth")),
    "sherpa": Backend("malan.inference.onnx_backend:open_sherpa", _kinds("transcription", "speech"), extra="speech"),
}
"""Every backend, by the name `models.toml` uses."""


@contextmanager
def open_engine(
    ws: Workspace, name: str, kind: Kind, *, caller: Caller = HOUSE, asked: Asked | None = None, stop: Stop = go_on,
    amount: Amount | None = None,
) -> Iterator[Engine]:  # fmt: skip
    """An engine that stands ready, for as long as it is used. It stays loaded for the next who asks.

    Args:
        ws: Whose `models.toml`.
        name: Of an engine.
        kind: What it must be.
        caller: On whose behalf; sub-models it attaches must be this caller's to use.
        asked: What it is used for, for the licence of its weights: `apply` unless said otherwise.
        stop: Raises when whoever asked does not want it any more; asked while waiting and while loading.
        amount: How much it will be asked for, so that memory for that is there before anything is loaded.

    Raises:
        NotFound: There is no such engine, or its weights are not here.
        Rejected: It needs more memory than it may ever have.
        UsageError: It is of another kind, or written down wrongly.
        NotGranted: A licence, an owner or a retirement forbids it; every reason is in the message.
        ProofError: Its weights are not what was registered.
        RetryLater: Its device was busy for too long, or has too little memory left.
        MissingExtra: Its backend is not installed.
    """
    row = read_engines(ws).row(name)
    backend = check_row(row, kind)
    wish = asked or Asked("apply", row.is_commercial, row.territory or None)
    lease = _Lease(ws, caller, wish)
    if backend.is_remote or not backend.needs_weights:
        require_endpoint_use(ws, row, caller=caller)
        opening, mark, need = _without_weights(row), digest_record("engine", [repr(row)]), Need(row.memory_mb)
    else:
        model = find_model(ws, row.model)
        require_model_use(ws, model, wish, caller=caller)
        lease = replace(lease, base=model)
        opening = _with_weights(ws, row, model, stop)
        need = check_fits(ws, row, opening, backend.tell, amount)
        mark = digest_record("engine", [repr(row), model.id])
    wanted = Wanted(
        name, mark, "" if backend.is_remote else row.device,
        lambda: _Leased.open(backend, opening, lease, stop), row.idle_s, need.weights_mb, need.work_mb, need.host_mb,
        stop=stop,
    )  # fmt: skip
    with ws.devices.hold(wanted) as held, held.leased(lease):
        yield held.engine


def ai_part(
    ws: Workspace,
    name: str,
    adapters: Iterable[str] = (),
    *,
    share: Literal["generated", "composite"] = "generated",
    caller: Caller = HOUSE,
    book: EngineBook | None = None,
) -> AiPart:
    """What a file made by an engine must carry: that AI made it, and with which models of the registry.

    Handed to `publish` (or `Work.publish`), its models stand in the log, so that a recall finds the file, and their
    owners are paid. A remote engine has one where somebody registered it (`models.endpoints`).

    Args:
        ws: Whose registry.
        name: Of the engine.
        adapters: Sub-models that were attached, as they were asked for.
        share: Whether AI made all of the file, or some of it.
        caller: On whose behalf.
        book: Engines that were read already.
    """
    row = (book or read_engines(ws)).row(name)
    elsewhere = endpoint_of(ws, row)
    rows = [elsewhere] if elsewhere else [] if row.is_remote or not row.model else [find_model(ws, row.model)]
    rows += [get_model(ws, one, caller=caller) for one in adapters]
    return AiPart(share, tuple(dict.fromkeys(one.id for one in rows)))


def planned_by(ws: Workspace, name: str) -> Planned:
    """What the log says of an engine that plans: the digest of its model, registered or not; one that runs elsewhere
    may be registered when it must be recalled, and is found by it."""
    row = read_engines(ws).row(name)
    digest = endpoint_id(row.url, row.model) if row.is_remote else find_model(ws, row.model).id
    return Planned(row.name, row.model, digest)


def check_room(ws: Workspace, name: str, amount: Amount) -> None:
    """Whether an engine may ever do so much at once: asked before anybody waits for it. What is wrong with the engine
    itself is said when it is opened.

    Raises:
        UsageError: More pixels than are made at once.
        Rejected: More memory than it may have; what would fit is in the hint.
    """
    row = read_engines(ws).row(name)
    backend = BACKENDS.get(row.backend)
    if backend is None or row.is_remote or not backend.needs_weights:
        return
    check_amount(row, amount)
    try:
        opening = _with_files(row, find_model(ws, row.model))
    except NotFound:
        return
    with suppress(OSError):
        check_fits(ws, row, opening, backend.tell, amount)


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
        known = ", ".join(sorted(backend.kinds))
        raise UsageError("engines.not_its_kind", name=row.name, backend=row.backend, kind=kind, known=known)
    if backend.is_remote != row.is_remote or (backend.needs_weights and not row.is_remote and not row.model):
        raise UsageError("engines.url", name=row.name, backend=row.backend)
    return backend


def find_adapter(ws: Workspace, text: str, base: ModelRow, wish: Asked, caller: Caller) -> Adapter:
    """A sub-model for an engine, once it is certain that the caller may use it there.

    Raises:
        NotFound: There is none, as far as this caller is told.
        UsageError: It is no adapter, or of another base.
        NotGranted: It was trained for somebody else, or a licence, an owner or a retirement forbids it.
        ProofError: Its weights are not what was registered.
    """
    model = get_model(ws, text, caller=caller)
    if model.form != ADAPTER:
        raise UsageError("engines.no_adapter", model=model.title)
    if model.base_id != base.id and (model.base_id or model.family != base.family):
        raise UsageError("engines.other_base", model=model.title, base=base.title)
    if not caller.is_operator and caller.party_id not in model.party_ids:
        raise NotGranted("engines.not_yours", model=model.title)
    require_model_use(ws, model, wish, caller=caller)
    alpha = model.card.get("alpha")
    return Adapter(model.id, model.title, weights_path(ws, model), float(alpha) if alpha is not None else None)


@dataclass(frozen=True)
class _Lease:
    """For whom an engine works at this moment, and on which base."""

    ws: Workspace
    caller: Caller
    wish: Asked
    base: ModelRow | None = None

    def adapter(self, name: str) -> Adapter:
        if self.base is None:
            raise UsageError("engines.no_adapters")
        return find_adapter(self.ws, name, self.base, self.wish, self.caller)


@dataclass
class _Leased:
    """An engine and whose it is now; only an engine with a device to itself asks for adapters."""

    engine: Engine
    current: list[_Lease] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, backend: Backend, opening: Opening, first: _Lease, stop: Stop) -> _Leased:
        """Raises:
        MalanError: What the backend says; nothing of it is left then.
        """
        current = [first]

        def find(name: str) -> Adapter:
            return current[-1].adapter(name)

        made = backend.open(replace(opening, find_adapter=find, stop=stop))
        current.clear()
        return cls(made, current)

    @contextmanager
    def leased(self, lease: _Lease) -> Iterator[None]:
        with self.guard:
            self.current.append(lease)
        try:
            yield
        finally:
            with self.guard:
                self.current.remove(lease)

    def close(self) -> None:
        self.engine.close()


def _without_weights(row: EngineRow) -> Opening:
    plain = Opening(row.name, row.kind, row.device, options=row.options)
    if not row.is_remote:
        return replace(plain, model=row.model)
    return replace(plain, model=row.model, url=row.url, key=_key(row), timeout_s=row.timeout_s, at_once=row.at_once)


def _with_weights(ws: Workspace, row: EngineRow, model: ModelRow, stop: Stop) -> Opening:
    opening = _with_files(row, model)
    base = BaseModel.from_value(model.place)
    files = checked_files(ws, base, stop=stop)
    refuse_more(base)
    return replace(opening, files=files)


def _with_files(row: EngineRow, model: ModelRow) -> Opening:
    """What an engine is opened with; whether its files are what was registered is not looked at."""
    if not model.place:
        raise NotFound("models.not_a_base", path=model.title)
    base = BaseModel.from_value(model.place)
    return Opening(
        row.name, row.kind, row.device, model.title, folder=base.folder,
        files={one.name: base.folder / one.name for one in base.files}, family=model.family, options=row.options,
    )  # fmt: skip


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
