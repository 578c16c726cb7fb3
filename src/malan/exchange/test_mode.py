"""Test mode for conformance suites: known datasets and agreements, a script per id, and webhooks that make us consume.

Behind `MALAN_DSP_TEST_SEED` only; nothing imports this module otherwise. Scripts act through the same state machine,
messages and outbox as people do. What is relaxed: every caller counts as the counterparty of the seed, and loopback
addresses may be called over http. Start at `load_seed` and `open_test_exchange`.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from malan.core.errors import MalanError, Rejected, UsageError
from malan.exchange.app import create_exchange
from malan.exchange.bodies import read_body
from malan.runtime.database import writing
from malan.services.dsp import words
from malan.services.dsp.addresses import Addresses, networks
from malan.services.dsp.automatic import behave, state_agreements
from malan.services.dsp.contracts import AUTOMATIC, LocalContracts, Offer, Session, SignedAgreement, add_agreement
from malan.services.dsp.errors import BadTransition, bad, refusal_of
from malan.services.dsp.flow import Exchange, show
from malan.services.dsp.policy import plain_use
from malan.services.dsp.read import read_json
from malan.services.dsp.settings import ExchangeSettings
from malan.services.dsp.tables import Process, now
from malan.services.exchange import negotiation, transfers
from malan.workspace import Workspace

SEED = "MALAN_DSP_TEST_SEED"
PAUSES_S = (0.5, 1.5)
_LARGEST_SEED_BYTES = 4_000_000
_WAIT_S, _MOST_WAITS = 0.1, 100

Steps = tuple[tuple[str, str], ...]

_ACTIONS = {
    ("negotiations", words.PROVIDER): ("offer", "agree", "finalize", "terminate"),
    ("negotiations", words.CONSUMER): ("counter", "accept", "verify", "terminate"),
    ("transfers", words.PROVIDER): ("start", "suspend", "complete", "terminate"),
    ("transfers", words.CONSUMER): ("start", "suspend", "complete", "terminate"),
}
_STATES = {
    "negotiations": frozenset(words.NEGOTIATION.steps.values()),
    "transfers": frozenset(words.TRANSFER.steps.values()),
}
_FOLDERS = {words.NEGOTIATION_KIND: "negotiations", words.TRANSFER_KIND: "transfers"}


@dataclass(frozen=True)
class Seed:
    """What a seed file says."""

    participant: str
    counterparty: str
    step_delay_s: float = 0.5
    public_url: str = ""
    data_address: Mapping[str, Any] | None = None
    datasets: tuple[Mapping[str, Any], ...] = ()
    agreements: tuple[Mapping[str, Any], ...] = ()
    scripts: Mapping[tuple[str, str, str], Steps] = field(default_factory=dict)  # folder, role, id


def load_seed(path: Path) -> Seed:
    """Read a seed file.

    Raises:
        UsageError: It cannot be read, or holds an unknown key, state or action.
    """
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(_LARGEST_SEED_BYTES))
        return _seed(said)
    except (OSError, ValueError) as error:
        raise UsageError("exchange.seed", path=str(path), detail=str(error)[:300]) from error


def check_empty(root: Path) -> None:
    """Refuse a workspace that holds anything.

    Raises:
        Rejected: There is a library, a log, a database, or something published; or its database is a server's.
    """
    if Workspace(root).settings.database:
        raise Rejected("exchange.not_empty", path=str(root))
    for name in ("library", "log", "malan.db", "snapshots", "blobs"):
        place = root / name
        if place.is_file() or (place.is_dir() and any(place.iterdir())):
            raise Rejected("exchange.not_empty", path=str(root))


@contextmanager
def empty_workspace(root: Path | None) -> Iterator[Workspace]:
    """An empty workspace that is dropped at the end; the one named must be empty too, and stays so."""
    if root is not None:
        check_empty(root)
    with tempfile.TemporaryDirectory(prefix="malan-dsp-test-", ignore_cleanup_errors=True) as folder:
        ws = Workspace.create(Path(folder))
        try:
            yield ws
        finally:
            ws.database.dispose()


def open_test_exchange(ws: Workspace, base: str, seed: Seed) -> Exchange:
    """The connector of a seed, with its datasets, agreements and scripts."""
    url = seed.public_url or base
    contracts = SeededContracts(ws, seed.data_address)
    ex = negotiation.open_exchange(ws, url, contracts=contracts, participant=seed.participant, pauses_s=PAUSES_S)
    settings = ExchangeSettings(seed.participant, ex.root, Addresses(networks(["127.0.0.0/8", "::1/128"])))
    ex.settings = lambda: settings
    ex.identify = lambda _authorization, _is_local: seed.counterparty
    ex.watchers = [Scripts(seed)]
    ex.chores = [state_agreements]
    _plant(ws, contracts, seed)
    return ex


def create_test_exchange(ex: Exchange, seed: Seed) -> FastAPI:
    """The connector with its webhooks."""
    app = create_exchange(ex)
    app.include_router(_webhooks(ex, seed))
    return app


class SeededContracts(LocalContracts):
    """Offers and agreements of the seed; a transfer starts with the seed's data address, if it has one."""

    def __init__(self, ws: Workspace, data_address: Mapping[str, Any] | None) -> None:
        super().__init__(ws)
        self._data_address = data_address

    def formats_of(self, dataset_id: str) -> Sequence[str]:
        """Of a dataset the seed does not list, any that is usual."""
        return super().formats_of(dataset_id) or (words.HTTP_PULL, "HttpData-PUSH", words.COMPUTE_TO_DATA)

    def open_session(self, agreement: SignedAgreement, how: str, root: str, pid: str) -> Session:
        session = super().open_session(agreement, how, root, pid)
        return Session(self._data_address, session.kept) if self._data_address else session


class Scripts:
    """Watches processes and plays their scripts: each process its own copy, in the order of its states."""

    def __init__(self, seed: Seed) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._left: dict[str, list[tuple[str, str]]] = {}
        self._seen: dict[str, int] = {}  # the last turn looked at
        self._early: dict[tuple[str, int], Process] = {}  # told before an earlier turn was

    def __call__(self, ex: Exchange, process: Process) -> None:
        steps = self._seed.scripts.get((_FOLDERS[process.kind], process.role, process.subject))
        if steps is None:
            behave(ex, process)
            return
        with self._lock:
            self._left.setdefault(process.pid, list(steps))
            self._early[process.pid, process.turn] = process
            while (entered := self._early.pop((process.pid, self._seen.get(process.pid, 0) + 1), None)) is not None:
                self._seen[process.pid] = entered.turn
                self._play(ex, entered)

    def _play(self, ex: Exchange, process: Process) -> None:
        left = self._left[process.pid]
        if not left or left[0][0] != process.state:
            return
        _, action = left.pop(0)
        timer = threading.Timer(self._seed.step_delay_s, ex.sender.do, [partial(_act, ex, process, action)])
        timer.daemon = True
        timer.start()


def _act(ex: Exchange, process: Process, action: str, waits: int = _MOST_WAITS) -> None:
    """Do what the script says, unless the process has moved; the other side's id may still be on its way to us."""
    is_negotiation = process.kind == words.NEGOTIATION_KIND
    move = negotiation.negotiate if is_negotiation else transfers.move_transfer
    if waits and not show(ex, process.machine, process.pid).peer_pid:
        timer = threading.Timer(_WAIT_S, ex.sender.do, [partial(_act, ex, process, action, waits - 1)])
        timer.daemon = True
        timer.start()
        return
    try:
        move(ex, process.pid, action, turn=process.turn)
    except BadTransition:
        return


def _plant(ws: Workspace, contracts: LocalContracts, seed: Seed) -> None:
    for each in seed.datasets:
        policy = plain_use(each["offerId"], each["id"])
        contracts.offer(Offer(each["offerId"], each["id"], policy, "", None, tuple(each["formats"]), AUTOMATIC))
    with writing(ws.database) as connection:
        for each in seed.agreements:
            ours = each["role"] == words.PROVIDER
            parties = (seed.participant, seed.counterparty) if ours else (seed.counterparty, seed.participant)
            policy = {**plain_use(each["id"], each["datasetId"]), "@type": "Agreement"}
            policy |= {"assigner": parties[0], "assignee": parties[1]}
            signed = SignedAgreement(
                each["id"],
                each["role"],
                seed.counterparty,
                each["datasetId"],
                policy,
                finalized=now(),
                grant_id=f"test-{each['id']}"[:200],
            )
            add_agreement(connection, signed)


def _webhooks(ex: Exchange, seed: Seed) -> APIRouter:
    router = APIRouter(prefix="/test")

    async def negotiate(request: Request) -> Response:
        return await _hook(request, ("connectorAddress", "datasetId", "offerId"), _start_negotiation)

    async def transfer(request: Request) -> Response:
        return await _hook(request, ("connectorAddress", "agreementId", "format"), _start_transfer)

    def _start_negotiation(said: Mapping[str, str]) -> Process:
        address, dataset_id = said["connectorAddress"], said["datasetId"]
        return negotiation.request_contract(ex, seed.counterparty, address, dataset_id, said["offerId"])

    def _start_transfer(said: Mapping[str, str]) -> Process:
        address, agreement_id = said["connectorAddress"], said["agreementId"]
        return transfers.request_transfer(ex, seed.counterparty, address, agreement_id, said["format"])

    router.add_api_route("/negotiations/requests", negotiate, methods=["POST"])
    router.add_api_route("/transfers/requests", transfer, methods=["POST"])
    return router


async def _hook(request: Request, names: tuple[str, ...], start: Any) -> Response:
    try:
        said = read_json(await read_body(request))
        for name in (*names, "providerId"):
            if not isinstance(said.get(name), str) or not said[name]:
                raise bad(name)
        process = await run_in_threadpool(start, said)
    except MalanError as error:
        refusal = refusal_of(error)
        return JSONResponse({"code": refusal.code, "reason": error.message("en")}, refusal.status)
    return JSONResponse({"consumerPid": process.pid}, 201)


# The seed file.

_KEYS = {
    "participantId",
    "counterparty",
    "stepDelayMs",
    "publicUrl",
    "dataAddress",
    "datasets",
    "agreements",
    "negotiations",
    "transfers",
}


def _seed(said: Any) -> Seed:
    _known(said, _KEYS, "seed")
    datasets = tuple(_dataset(one) for one in _list(said, "datasets"))
    agreements = tuple(_agreement(one) for one in _list(said, "agreements"))
    for name, held in (("datasets", datasets), ("agreements", agreements)):
        if len({one["id"] for one in held}) != len(held):
            raise ValueError(f"{name}: id twice")
    delay = said.get("stepDelayMs", 500)
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay <= 60_000:
        raise ValueError("stepDelayMs")
    address = said.get("dataAddress")
    if address is not None and not isinstance(address, dict):
        raise ValueError("dataAddress")
    return Seed(
        participant=_text(said, "participantId"),
        counterparty=_text(said, "counterparty"),
        step_delay_s=delay / 1000,
        public_url=_text(said, "publicUrl", needed=False).rstrip("/"),
        data_address=address,
        datasets=datasets,
        agreements=agreements,
        scripts={**_scripts(said, "negotiations"), **_scripts(said, "transfers")},
    )


def _dataset(said: Any) -> dict[str, Any]:
    _known(said, {"id", "offerId", "formats"}, "datasets")
    formats = _list(said, "formats") or [words.HTTP_PULL]
    if not all(isinstance(one, str) and one for one in formats):
        raise ValueError("datasets.formats")
    return {"id": _text(said, "id"), "offerId": _text(said, "offerId"), "formats": formats}


def _agreement(said: Any) -> dict[str, str]:
    _known(said, {"id", "role", "datasetId"}, "agreements")
    role = _text(said, "role")
    if role not in (words.CONSUMER, words.PROVIDER):
        raise ValueError(f"agreements.role: {role}")
    return {"id": _text(said, "id"), "role": role, "datasetId": _text(said, "datasetId")}


def _scripts(said: Mapping[str, Any], folder: str) -> dict[tuple[str, str, str], Steps]:
    found: dict[tuple[str, str, str], Steps] = {}
    by_role = said.get(folder, {})
    _known(by_role, {words.CONSUMER, words.PROVIDER}, folder)
    for role, by_id in by_role.items():
        if not isinstance(by_id, dict):
            raise ValueError(f"{folder}.{role}")
        for name, steps in by_id.items():
            found[folder, role, name] = tuple(_step(one, folder, role, name) for one in _list(by_id, name) or steps)
    return found


def _step(said: Any, folder: str, role: str, name: str) -> tuple[str, str]:
    if not isinstance(said, list) or len(said) != 2:
        raise ValueError(f"{folder}.{role}.{name}: {said}")
    state, action = said
    if state not in _STATES[folder]:
        raise ValueError(f"{folder}.{role}.{name}: state {state}")
    if action not in _ACTIONS[folder, role]:
        raise ValueError(f"{folder}.{role}.{name}: action {action}")
    return str(state), str(action)


def _known(said: Any, names: set[str], where: str) -> None:
    if not isinstance(said, dict):
        raise ValueError(where)
    if unknown := sorted(set(said) - names):
        raise ValueError(f"{where}: {unknown[0]}")


def _list(said: Mapping[str, Any], name: str) -> list[Any]:
    value = said.get(name, [])
    if not isinstance(value, list):
        raise ValueError(name)
    return value


def _text(said: Mapping[str, Any], name: str, *, needed: bool = True) -> str:
    value = said.get(name, "")
    if not isinstance(value, str) or len(value) > 500 or (needed and not value):
        raise ValueError(name)
    return value
