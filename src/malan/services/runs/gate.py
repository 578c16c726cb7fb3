"""A run at the gate: judged once, then held, refused, or released with all that a release brings.

    raw files ─ inspect ─▶ result, kept ─ passed ─▶ budget charged ─▶ model registered ─▶ price owed ─▶ receipts ─▶ log
                                        └ held ─▶ every owner decides ─▶ the same again, with the decision

Each step may be done twice without harm and the state changes last, so a kill between any two of them costs nothing:
whoever takes the run up does them again. Start reading at `judge_run` and `end_run`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from malan.core.decisions import Reason
from malan.core.errors import MalanError, NotGranted, Rejected, UsageError
from malan.runtime.database import add_new, reading, writing
from malan.services.market.grants import get_grant
from malan.services.runs import states
from malan.services.runs.bench import Bench
from malan.services.runs.checks import check_footage, check_still, said_in
from malan.services.runs.folder import RunFolder, gate_secret
from malan.services.runs.meter import RunAccount, release_holds
from malan.services.runs.receipts import keep_receipts, state_end
from malan.services.runs.rows import ALL_GONE, HOLDS_GONE, Run, mark, move, note_tidy, plain, reasons
from malan.services.runs.tables import DECISIONS, RESULTS, run_tables
from malan.services.settlement.charges import charge
from malan.services.settlement.metering import seal_usage
from malan.training.gate import GateResult, inspect_output, settle_output
from malan.training.gate.budget import OUTCOME_BYTES, charge_of
from malan.training.gate.result import HELD, PASSED, REFUSED, Step, approve

if TYPE_CHECKING:
    from malan.workspace import Workspace

RELEASE, REFUSE = ANSWERS = ("release", "refuse")
_NOTHING = GateResult(REFUSED, ())

Register = Callable[["Workspace", Run, GateResult, Mapping[str, Any]], str]
"""Puts a model into the registry and states it in the log; its id. The same again is the same model."""


def judge_run(
    ws: Workspace, run: Run, bench: Callable[[], Bench], register: Register, stop: Callable[[], bool] = lambda: False
) -> Run:
    """Bring a run that stands at the gate to its verdict; asked again after a kill, to the same one.

    Args:
        run: In the state `gate`, and this process's own.
        bench: Made only when the result is not known yet.
        register: Where models go.
        stop: Whether a person wants it to end; asked until the budget is charged.
    """
    result = known_result(ws, run) or _inspect(ws, run, bench(), stop)
    if stop() and run.ending is None:
        return end_run(ws, run, states.CANCEL)
    if result.state == HELD and (who := released_by(ws, run)) is not None:
        return _release(ws, run, approve(result, who), register, "approved")
    if result.state == PASSED:
        return _release(ws, run, result, register, "output")
    if result.state == REFUSED:
        return end_run(ws, run, states.REFUSE, why=result.reasons, told=result.party_reasons, result=result)
    charged = _settle(ws, run, result, "output")
    RunFolder(ws, run.id).clear_raw()
    return move(ws, run, states.HOLD, why=result.reasons, told=result.party_reasons, charged_bytes=charged)


def end_run(
    ws: Workspace,
    run: Run,
    action: str,
    *,
    why: tuple[Reason, ...] = (),
    told: tuple[Reason, ...] | None = None,
    result: GateResult = _NOTHING,
    who: str = "",
    note: str = "",
) -> Run:
    """End a run of which nothing leaves: if it began, its outcome is charged and stated; what is held is given back."""
    told = why if told is None else told
    charged = run.charged_bytes
    if run.has_begun:
        run = mark(ws, run, ending=[action, plain(why), plain(told)])
        owe_for(ws, run)
        charged = charged or _settle(ws, run, result, "output")
        keep_receipts(ws, run, result, charged)
        state_end(ws, run, states.after(run.state, action))
    ended = move(ws, run, action, who=who, why=why, told=told, note=note, charged_bytes=charged)
    return tidy_up(ws, ended)


def tidy_up(ws: Workspace, run: Run, *, keeps_checkpoint: bool = True) -> Run:
    """Put away what a run that is over left: holds, files, and usage that is not sealed. Twice does no harm.

    A checkpoint of a run that may be resumed stays, as long as `keeps_checkpoint`.
    """
    release_holds(ws, run.id)
    stays = keeps_checkpoint and run.state in states.RESUMABLE
    RunFolder(ws, run.id).clear(keeps_checkpoint=stays)
    if run.has_begun and run.tidy == 0:
        _seal(ws)
    note_tidy(ws, run, HOLDS_GONE if stays else ALL_GONE)
    return replace(run, tidy=HOLDS_GONE if stays else ALL_GONE)


def finish_ending(ws: Workspace, run: Run) -> Run:
    """Go on with the end of a run whose worker was killed in the middle of it."""
    action, why, told = run.ending or (states.FAIL, [], [])
    return end_run(ws, run, action, why=reasons(why), told=reasons(told))


def owe_for(ws: Workspace, run: Run) -> None:
    """The price of a run is owed once it was counted, whatever becomes of it, and divided as it used the footage."""
    terms = get_grant(ws, run.grant_id).signed.agreement.terms
    if terms.price_minor and terms.price_per == "run":
        key = f"run:{run.id}:{run.life}"
        charge(ws, run.grant_id, terms.price_minor, terms.currency, key=key, kind="model", about=f"run:{run.id}")


def known_result(ws: Workspace, run: Run) -> GateResult | None:
    """The verdict of the gate on this life of a run, with the files that may leave; None before there is one."""
    query = select(RESULTS).where(RESULTS.c.run_id == run.id, RESULTS.c.life == run.life)
    with reading(run_tables(ws)) as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        return None
    steps = tuple(
        Step(name, outcome, Reason(code, tuple(values.items())), evidence)
        for name, outcome, code, values, evidence in row.steps
    )
    return GateResult(row.state, steps, RunFolder(ws, run.id).leaving(), row.metrics)


def released_by(ws: Workspace, run: Run) -> str | None:
    """Who let a held result go: the last owner to say so, once all have; None until then."""
    found = decisions_of(ws, run)
    return (
        run.owner_ids[-1] if {one["owner"] for one in found if one["answer"] == RELEASE} >= set(run.owner_ids) else None
    )


def decisions_of(ws: Workspace, run: Run) -> list[dict[str, Any]]:
    """What owners have said about the held result of this life."""
    query = select(DECISIONS).where(DECISIONS.c.run_id == run.id, DECISIONS.c.life == run.life)
    with reading(run_tables(ws)) as connection:
        rows = connection.execute(query.order_by(DECISIONS.c.at_s)).all()
    return [{"owner": one.owner_id, "answer": one.answer, "reason": one.reason, "at_s": one.at_s} for one in rows]


def _inspect(ws: Workspace, run: Run, bench: Bench, stop: Callable[[], bool]) -> GateResult:
    """Judge what was handed in and keep the verdict; the files first, so that a kept verdict always has them."""
    folder = RunFolder(ws, run.id)
    result = inspect_output(folder.raw(), bench.policy, gate_secret(ws), bench.trial(stop))
    if stop():
        return result
    folder.save_leaving(result.files if result.state != REFUSED else {})
    steps = [
        [one.name, one.outcome, one.reason.code, dict(one.reason.values), dict(one.evidence)] for one in result.steps
    ]
    row = {"run_id": run.id, "life": run.life, "state": result.state, "steps": steps, "metrics": dict(result.metrics)}
    with writing(run_tables(ws), durable=True) as connection:
        add_new(connection, RESULTS, row)
    return result


def _release(ws: Workspace, run: Run, result: GateResult, register: Register, hold: str) -> Run:
    """Let a result go: paid for from the budget before anything is handed over."""
    try:
        if run.ending is None:  # what was charged already is handed over
            check_still(ws, run)
            check_footage(ws, run)
        run = mark(ws, run, ending=[states.PASS, [], []])
        charged = _settle(ws, run, result, hold)
        model_id = register(ws, run, result, run.ran.get("facts", {}))
    except (NotGranted, Rejected, UsageError) as error:
        why = said_in(error)
        if hold == "approved":  # the owner may think again: more budget, or no
            ran = {name: value for name, value in run.ran.items() if name != "ending"}
            return move(ws, run, states.HOLD, why=why, told=(Reason("gate.state.held"),), ran=ran)
        return end_run(ws, run, states.REFUSE, why=why, told=why)
    total = charged + (run.charged_bytes if hold == "approved" else 0)
    keep_receipts(ws, run, result, total)
    state_end(ws, run, states.RELEASED)
    why = (Reason("runs.released", (("model", model_id[:12]),)),)
    return tidy_up(ws, move(ws, run, states.PASS, why=why, model_id=model_id, charged_bytes=total))


def _settle(ws: Workspace, run: Run, result: GateResult, hold: str) -> int:
    """Charge what a result costs the budget: once, however often it is asked for."""
    account, name = RunAccount(ws, run.grant_id, run.id), f"{run.id}:{run.life}"
    if hold == "approved":
        amount = charge_of(result)
        held = account.reserve(amount, f"approved:{name}")
        account.consume(held, amount, key=f"approved:{name}")
        account.release(held)
        return amount
    try:
        held = account.reserve(int(run.ran.get("most_bytes", OUTCOME_BYTES)), f"output:{name}")
        if held.used:  # settled before, by whoever was killed on the way
            account.release(held)
            return held.used
        return settle_output(account, held, result, name)
    except NotGranted:
        if result.state == PASSED:
            raise
        return 0  # nothing leaves: a grant that is over must not keep a run from ending


def _seal(ws: Workspace) -> None:
    """What was used is stated in the log; if that cannot be now, the clock does it."""
    with suppress(MalanError):
        seal_usage(ws)
