"""Every service a face can reach is asked by somebody and checks it, or stands in a table here with the reason why not.

Faces are read as source: whatever public function of `malan.services` they name counts as reached.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from market_place import single, terms_of

import malan
from malan.core.errors import NotFound, NotGranted
from malan.services.access import Caller, NotSignedIn
from malan.services.clips.browse import SearchRequest
from malan.services.journal import read_event
from malan.services.market.contract_lookup import export_contract, list_contracts
from malan.services.market.contracts import Changes
from malan.services.settlement.statements import Settled
from malan.store import ClipQuery
from malan.workspace import Workspace

FACES = ("web", "cli", "exchange")

WITHOUT = {
    # who asks is found out here
    "accounts.parties.has_accounts": "says only whether single-user mode is over",
    "accounts.api_keys.caller_of_key": "makes the caller, of a key",
    "accounts.api_keys.has_open_keys": "says only whether anybody could get in",
    "accounts.oidc.begin_sign_in": "leads to the identity provider",
    "accounts.oidc.finish_sign_in": "makes the session, of the identity provider's answer",
    "accounts.oidc.is_configured": "says only whether there is a provider",
    "accounts.acting.caller_for": "makes the caller, of a name typed on this machine",
    "accounts.acting.party_of": "an id follows from a name, known or not",
    "accounts.sessions.caller_of_session": "makes the caller, of a cookie",
    "accounts.sessions.sign_in": "asks for the password",
    "accounts.sessions.sign_out": "asks for the session's own secret",
    # shows a record that was asked for by a caller
    "market.contract_lookup.describe_contract": "shows what get_contract, list_contracts gave",
    "runs.algorithms.describe_algorithm": "shows what find_algorithm, list_algorithms gave",
    "market.grants.describe_grant": "shows what get_grant, list_grants gave",
    "market.product_card.describe_product": "shows what get_product, list_products gave",
    "jobs.waiting.unattended": "tells of jobs that list_jobs, show_job gave",
    "log.proofs.bundle": "proves an event that read_event gave",
    "footage.withdrawal.withdrawal_receipt": "proves what withdraw_asset did",
    # the connector: the party is authenticated by its token, and every look-up is for that party
    "dsp.catalogue.catalog": "party by token",
    "dsp.catalogue.dataset": "party by token",
    "dsp.flow.show": "party by token",
    "exchange.negotiation.receive_message": "party by token",
    "exchange.negotiation.receive_offer": "party by token",
    "exchange.negotiation.receive_request": "party by token",
    "exchange.negotiation.show_negotiation": "party by token",
    "exchange.transfers.receive_message": "party by token",
    "exchange.transfers.receive_request": "party by token",
    "exchange.transfers.show_transfer": "party by token",
    "exchange.transfers.open_data": "asks for the secret of the session, and whether the agreement still holds",
    "runs.remote.cancel_remote": "asks for the secret of the session, then acts as the party of its grant",
    "runs.remote.list_remote": "asks for the secret of the session, then acts as the party of its grant",
    "runs.remote.receipt_remote": "asks for the secret of the session, then acts as the party of its grant",
    "runs.remote.show_remote": "asks for the secret of the session, then acts as the party of its grant",
    "runs.remote.submit_remote": "asks for the secret of the session, then acts as the party of its grant",
    "clips.samples.list_samples": "shows what open_data opened",
    "clips.samples.open_sample": "asks for the secret of the session, the terms and the meter",
    "exchange.transfers.session_view": "shows what open_data opened",
    # works on behalf of whoever submitted a run, and asks for that party again
    "runs.view.has_worker": "says only whether a worker is there",
    "runs.worker.work": "the worker; runs are submitted with a caller",
    # puts the program together, or test mode of the connector, which holds nothing of anybody
    "exchange.negotiation.open_exchange": "the server itself",
    "dsp.automatic.behave": "test mode",
    "dsp.automatic.state_agreements": "test mode",
    "dsp.contracts.add_agreement": "test mode",
    "exchange.negotiation.negotiate": "test mode; people come by services.exchange.connector",
    "exchange.negotiation.request_contract": "test mode; people come by services.exchange.connector",
    "exchange.transfers.move_transfer": "test mode; people come by services.exchange.connector",
    "exchange.transfers.request_transfer": "test mode; people come by services.exchange.connector",
    # the gateway: the party is that of the key, and every look-up is for that party
    "gateway.keys.is_gateway_key": "says only of what kind a key is",
    "gateway.keys.is_key_open": "says only whether a key is still open, to its holder",
    "gateway.keys.policy_of": "makes the party and what it may ask for, of a key",
    "jobs.queue.submit": "party by key; a job that was prepared for that party",
    "jobs.queue.get_job": "party by key; without a party, for whoever holds the folder",
    "jobs.queue.list_jobs": "party by key",
    "jobs.queue.cancel": "a job that get_job gave",
    "jobs.queue.forget": "a job that get_job gave",
    "jobs.queue.job_counts": "numbers only, for operators and this machine",
    "jobs.queue.live_workers": "numbers only, for operators and this machine",
    "jobs.queue.longest_waits": "numbers only, for operators and this machine",
    "jobs.expiry.expires_s": "of a job that get_job gave",
    "jobs.webhooks.check_webhook": "an address against the hosts that the operator allows",
    "outputs.recall.marks_of": "outputs of a job or file that was asked for by a caller",
    "gateway.prices.dearest": "prices of a table that everybody may read",
    "gateway.prices.price_for": "prices of a table that everybody may read",
    "gateway.royalties.book_usage": "what was used becomes what is owed, for whoever holds the folder",
    "gateway.royalties.owe_royalties": "what was used becomes what is owed, for whoever holds the folder",
    # nothing of anybody's
    "jobs.health.is_well": "says only whether the database answers",
    "footage.owners.owner_names": "names only, for commands of whoever holds the folder",
    "log.witness.show_witness": "what a witness publishes: its key and what it has signed",
}
"""Functions that take a workspace, a connection or the connector, and no caller; each with what stands in its place."""

NOBODY = Caller("f" * 64, frozenset(), "session", name="nobody")


def _modules(face: str) -> list[Path]:
    folder = Path(malan.__file__).parent / face
    return sorted(folder.rglob("*.py"))


@cache
def reached() -> dict[str, Callable[..., Any]]:
    """`grants.get_grant` → the function, for everything that a face names."""
    found = {}
    for path in (path for face in FACES for path in _modules(face)):
        for function in _named(ast.parse(path.read_text("utf-8"))):
            module = function.__module__.removeprefix("malan.services.")
            found[f"{module}.{function.__name__}"] = function
    return found


def _named(tree: ast.AST) -> Iterator[Callable[..., Any]]:
    imported: dict[str, tuple[str, str]] = {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("malan.services")
        for alias in node.names
    }
    for node in ast.walk(tree):
        text = ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""
        first, _, rest = text.partition(".")
        if first in imported and "." not in rest:
            found = _member(*imported[first], rest)
            if inspect.isfunction(found) and found.__module__.startswith("malan.services"):
                yield found


def _member(module: str, name: str, rest: str) -> object:
    found = getattr(importlib.import_module(module), name, None)
    if found is None and Path(importlib.import_module(module).__file__ or "").with_name(f"{name}.py").is_file():
        found = importlib.import_module(f"{module}.{name}")
    return getattr(found, rest, None) if rest else found


def _touches(function: Callable[..., Any]) -> bool:
    """Whether it is handed records of somebody's."""
    return any(
        kind in str(one.annotation)
        for one in inspect.signature(function).parameters.values()
        for kind in ("Workspace", "Exchange", "Connection", "Engine")
    )


def _takes_caller(function: Callable[..., Any]) -> bool:
    return "caller" in inspect.signature(function).parameters


def test_whatever_a_face_reaches_takes_a_caller_or_says_why_not() -> None:
    silent = {name for name, one in reached().items() if _touches(one) and not _takes_caller(one)}
    assert sorted(silent - set(WITHOUT)) == []


def test_no_reason_is_given_for_what_takes_a_caller_by_now() -> None:
    assert sorted(name for name, one in reached().items() if name in WITHOUT and _takes_caller(one)) == []


@pytest.mark.parametrize("name", sorted(name for name, one in reached().items() if _takes_caller(one)))
def test_whatever_takes_a_caller_hands_it_on_or_checks_it(name: str) -> None:
    function = reached()[name]
    source = ast.parse(Path(inspect.getfile(inspect.unwrap(function))).read_text("utf-8")).body
    body = next(one for one in source if isinstance(one, ast.FunctionDef) and one.name == function.__name__)
    used = [one for one in body.body for one in ast.walk(one) if isinstance(one, ast.Name) and one.id == "caller"]
    assert used, f"{name} takes a caller and does not look at it"


# Somebody without any role, who asks for everything there is


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    from malan.services.market.contracts import order_product
    from malan.services.market.products import Price, offer_product

    ws = Workspace.create(tmp_path_factory.mktemp("callers") / "ws")
    single(ws)
    offer_product(ws, "云海", price=Price.read("1:CNY"), automatic=True)
    order_product(ws, "云海", "某模型公司")
    yield ws
    ws.database.dispose()


def _asked() -> list[str]:
    return sorted(name for name, one in reached().items() if _takes_caller(one) and _touches(one))


EMPTY_HANDED = {"clips.browse.filters", "clips.browse.list_assets", "clips.browse.search", "clips.search.find"}
"""What answers anybody, with nothing but what is theirs; each has a test of its own of what that is."""


@pytest.mark.parametrize("name", _asked())
def test_somebody_without_a_role_is_given_nothing_by(name: str, shop: Workspace, tmp_path: Path) -> None:
    function = reached()[name]
    try:
        given = {one.name: _value(one, shop, tmp_path) for one in inspect.signature(function).parameters.values()}
    except KeyError as missing:
        pytest.skip(f"needs a {missing}")
    given = {key: value for key, value in given.items() if value is not _LEFT_OUT}
    positional = [given.pop(one.name) for one in _positional(function) if one.name in given]
    if name in EMPTY_HANDED:
        _consumed(function(*positional, **given))
        return
    with pytest.raises((NotGranted, NotFound, NotSignedIn)):
        _consumed(function(*positional, **given))


_LEFT_OUT = object()


def _positional(function: Callable[..., Any]) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [one for one in inspect.signature(function).parameters.values() if one.kind in kinds]


def _value(one: inspect.Parameter, ws: Workspace, folder: Path) -> Any:
    """Something for a parameter: what must be given, and the caller."""
    if one.name == "caller":
        return NOBODY
    if one.default is not inspect.Parameter.empty:
        return _LEFT_OUT
    by_name = _by_name(ws)
    if one.name in by_name:
        return by_name[one.name]
    said: dict[str, Callable[[], Any]] = {
        "Workspace": lambda: ws,
        "Workspace | None": lambda: ws,
        "str": lambda: "云海",
        "int": lambda: 0,
        "bool": lambda: False,
        "str | None": lambda: "云海",
        "Mapping[str, str]": dict,
        "Sequence[Fraction]": list,
        "bytes": lambda: export_contract(ws, list_contracts(ws)[0].number),
        "Path": lambda: folder / "out",
        "Sequence[str]": lambda: [by_name["clip_id"]],
        "Sequence[Path]": list,
        "Sequence[str | os.PathLike[str]]": lambda: [folder],
        "ClipQuery": ClipQuery,
        "SearchRequest": SearchRequest,
        "Changes": Changes,
        "Terms": lambda: terms_of("湖南台"),
        "Logged": lambda: read_event(ws, 0),
        "Settled": lambda: Settled("0" * 64, "2026-11", {"lines": [], "fees": []}, "held", 0),
    }
    return said[str(one.annotation)]()


@cache
def _by_name(ws: Workspace) -> dict[str, str]:
    (clip, *_) = ws.library.matching(ClipQuery())
    asset_id = clip.clip.asset_id
    clips = dict.fromkeys(("clip", "clip_id", "id_or_prefix"), clip.id)
    words = {"lang": "en", "format": "json", "format_name": "webdataset", "answer": "release", "action": "accept"}
    return {**clips, **words, "asset": asset_id, "asset_id": asset_id}


def _consumed(value: Any) -> Any:
    return list(value) if inspect.isgenerator(value) else value
