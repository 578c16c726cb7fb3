"""Runs asked for from elsewhere: what the data address of a compute-to-data transfer opens to the bearer of its secret.

The bearer acts as the party of the grant the agreement became, under this grant alone: it submits, looks, cancels, and
takes the receipt, in the copy that is the buyer's. Start reading at `submit_remote`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from malan.core.errors import NotFound
from malan.services.access import BUYER, Caller
from malan.services.dsp import words
from malan.services.dsp.errors import NotAuthenticated, bad
from malan.services.dsp.flow import Exchange
from malan.services.exchange import transfers
from malan.services.market.grants import get_grant
from malan.services.runs.rows import Run
from malan.services.runs.submission import Asked, cancel_run, get_run, list_runs, run_receipt, submit_run
from malan.services.runs.view import describe_run

_TEXTS = ("tier", "priority", "name", "purpose", "territory", "base")
_KNOWN = frozenset({"algorithm", "parameters", "seed", *_TEXTS})


def submit_remote(ex: Exchange, pid: str, secret: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Submit a run under the grant of a session: `algorithm`, `parameters`, `seed`, and the texts of `Asked`.

    Raises:
        NotAuthenticated: The session is not open to this secret, or is for something else.
        BadMessage: The message says what is not known, or in another type.
        NotGranted, UsageError, NotFound, RetryLater: As `submit_run`.
    """
    grant_id, caller = _opened(ex, pid, secret)
    algorithm, parameters, asked = _read(said)
    run = submit_run(ex.ws, algorithm, grant_id, parameters, asked=asked, caller=caller)
    return describe_run(ex.ws, run, caller=caller)


def list_remote(ex: Exchange, pid: str, secret: str) -> dict[str, Any]:
    """The runs under the grant of a session, the latest first."""
    grant_id, caller = _opened(ex, pid, secret)
    runs = [one for one in list_runs(ex.ws, caller=caller) if one.grant_id == grant_id]
    return {"runs": [describe_run(ex.ws, one, caller=caller, whole=False) for one in runs]}


def show_remote(ex: Exchange, pid: str, secret: str, run: str) -> dict[str, Any]:
    """One of them, as its buyer sees it."""
    found, caller = _run(ex, pid, secret, run)
    return describe_run(ex.ws, found, caller=caller)


def cancel_remote(ex: Exchange, pid: str, secret: str, run: str) -> dict[str, Any]:
    """End one of them."""
    found, caller = _run(ex, pid, secret, run)
    return describe_run(ex.ws, cancel_run(ex.ws, found.id, caller=caller), caller=caller)


def receipt_remote(ex: Exchange, pid: str, secret: str, run: str) -> dict[str, Any]:
    """Its receipt, signed: the buyer's copy.

    Raises:
        NotFound: It has none yet.
    """
    found, caller = _run(ex, pid, secret, run)
    value: dict[str, Any] = json.loads(run_receipt(ex.ws, found.id, caller=caller).to_file())
    return value


def _run(ex: Exchange, pid: str, secret: str, run: str) -> tuple[Run, Caller]:
    grant_id, caller = _opened(ex, pid, secret)
    found = get_run(ex.ws, run, caller=caller)
    if found.grant_id != grant_id:
        raise NotFound("runs.none", id=run[:40])
    return found, caller


def _opened(ex: Exchange, pid: str, secret: str) -> tuple[str, Caller]:
    """The grant behind a session, and its party."""
    process, agreement = transfers.open_data(ex, pid, secret)
    if process.details["session"]["format"] != words.COMPUTE_TO_DATA or not agreement.grant_id:
        raise NotAuthenticated("exchange.no_session")
    grant = get_grant(ex.ws, agreement.grant_id).grant
    return grant.id, Caller(grant.party_id, frozenset({BUYER}), "key", name=agreement.party[:80])


def _read(said: Mapping[str, Any]) -> tuple[str, dict[str, Any], Asked]:
    if unknown := sorted(said.keys() - _KNOWN):
        raise bad(str(unknown[0]))
    algorithm, parameters, seed = said.get("algorithm"), said.get("parameters", {}), said.get("seed")
    if not isinstance(algorithm, str) or not algorithm:
        raise bad("algorithm")
    if not isinstance(parameters, dict):
        raise bad("parameters")
    if seed is not None and type(seed) is not int:
        raise bad("seed")
    texts = {name: said[name] for name in _TEXTS if name in said}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise bad(name)
    return algorithm, parameters, Asked(seed=seed, **texts)
