"""Whether a run may begin: asked when it is submitted, again when it starts, and once more before anything leaves.

Everything that stands in the way is told at once. What is missing is never worked around: no weaker walls, no other
tier, no fewer clips than the algorithm asks for. Start reading at `check_run`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from malan.core import Reason, Terms
from malan.core.errors import MalanError, NotGranted
from malan.rights.decide import DEFAULT_LEVEL, TIERS, Use
from malan.rights.meter import OUTPUT_BYTES, RUNS
from malan.runtime.sandbox import measure_level
from malan.services.market.grants import get_grant, grant_allows
from malan.services.runs.algorithms import CODE, RECIPE_DP, load_package, tiers_of
from malan.services.runs.approvals import approval_of
from malan.services.runs.base import Base, find_base, objections
from malan.services.runs.footage import LEAST_HELD_OUT, Chosen, choose_clips
from malan.services.runs.memory import ask_of
from malan.services.runs.meter import assets_used, left_of
from malan.services.runs.rows import Run
from malan.services.uses import is_withdrawn, today
from malan.training.gate import Policy
from malan.training.gate.budget import most_of
from malan.training.gate.result import reason_of
from malan.training.package import (
    DataRequest,
    Package,
    ask_for_data,
    declare_outputs,
    missing_packages,
    settle_parameters,
)

if TYPE_CHECKING:
    from malan.workspace import Workspace

_HOUR_S = 3600
_MOST_TOLD = 5


@dataclass(frozen=True)
class Wish:
    """What somebody wants to run: the same before it is on record and after."""

    grant_id: str
    party_id: str
    package_id: str
    tier: str
    parameters: Mapping[str, Any]
    asked: Mapping[str, Any]  # purpose, territory, base

    @classmethod
    def of(cls, run: Run) -> Wish:
        """What a run on record wants."""
        return cls(run.grant_id, run.party_id, run.package_id, run.tier, run.parameters, run.asked)


@dataclass(frozen=True)
class Ready:
    """A run that may begin, as far as was asked."""

    package: Package
    parameters: Mapping[str, Any]
    request: DataRequest
    use: Use
    floor: str
    chosen: Chosen
    policy: Policy
    base: Base | None = None


def check_run(ws: Workspace, wish: Wish, *, counted: bool = False) -> Ready:
    """What a run needs, when nothing stands in its way.

    Args:
        ws: Where.
        wish: What is asked for.
        counted: It was counted before: what the grant has left for runs is not asked again.

    Raises:
        NotGranted: Something does; every reason is in the message and in `values["said"]`.
        UsageError: A parameter does not fit the algorithm.
        Rejected: No sandbox can be built on this machine.
    """
    package = load_package(ws, wish.package_id)
    parameters = settle_parameters(package.parameters, wish.parameters)
    request = ask_for_data(package, parameters)
    terms = get_grant(ws, wish.grant_id).signed.agreement.terms
    use = _use(wish, package, request)
    refuse([*_of_the_tier(wish, package, parameters), *_of_the_grant(ws, wish, use), *_of_the_machine(ws, package)])
    refuse(objections(ws, package, wish.asked))
    chosen = choose_clips(ws, wish.grant_id, use, request)
    refuse(_of_the_data(package, chosen))
    base = find_base(ws, package, parameters, wish.asked)
    policy = _policy(wish, package, parameters, chosen, base, terms)
    refuse(_of_the_limits(ws, wish, policy, counted=counted))
    return Ready(package, parameters, request, use, terms.isolation or DEFAULT_LEVEL, chosen, policy, base)


def check_still(ws: Workspace, run: Run) -> None:
    """Go on only while the grant is in force and allows what the run was begun for.

    Raises:
        NotGranted: It does not any more.
    """
    wish = Wish.of(run)
    package = load_package(ws, run.package_id)
    request = ask_for_data(package, run.parameters)
    refuse(_of_the_grant(ws, wish, _use(wish, package, request)))


def check_footage(ws: Workspace, run: Run) -> None:
    """Go on only while nothing that a run was given has been taken back since: its model would stand on it.

    Raises:
        NotGranted: Some of it has.
    """
    used = assets_used(ws, run.id)
    rows = ws.library.assets_by_id(used)
    gone = [one for one in used if one not in rows or is_withdrawn(rows[one])]
    refuse(Reason("runs.withdrawn", (("asset", one[:12]),)) for one in gone[:_MOST_TOLD])


def missing_approvals(ws: Workspace, run: Run) -> tuple[Reason, ...]:
    """What owners have not said yet about the code of a run; nothing when it may run, or needs nobody's word.

    Raises:
        NotGranted: An owner refused the code.
    """
    if run.tier != CODE:
        return ()
    found = approval_of(ws, run.package_id, run.owner_ids)
    if found.is_rejected:
        refuse(found.decision.reasons)
    return () if found.decision.allowed else found.decision.reasons


def refuse(reasons: Iterable[Reason]) -> None:
    """Raises:
    NotGranted: There are reasons.
    """
    if listed := tuple(dict.fromkeys(reasons)):
        raise NotGranted("runs.refused", reasons=" ".join(one.text() for one in listed), said=listed)


def said_in(error: MalanError) -> tuple[Reason, ...]:
    """The reasons of a refusal, one by one; of any other error its own."""
    said: tuple[Reason, ...] = error.values.get("said") or (reason_of(error),)
    return said


@cache
def reached_level() -> str:
    """The level a run reaches on this machine, measured once for this process.

    Raises:
        Rejected: No sandbox can be built here.
    """
    return measure_level().name


def _use(wish: Wish, package: Package, request: DataRequest) -> Use:
    """The use a run makes of footage, shut in as well as this machine can."""
    model = {"lora": "adapter"}.get(package.outputs["model"].kind, "weights")
    egress = (model, "metrics") if package.metrics else (model,)
    return Use(
        request.use,
        today(),
        party_id=wish.party_id,
        purpose=wish.asked.get("purpose"),
        territory=wish.asked.get("territory"),
        tier=wish.tier,
        isolation=reached_level(),
        egress=egress,
    )


def _of_the_tier(wish: Wish, package: Package, parameters: Mapping[str, Any]) -> Iterable[Reason]:
    if wish.tier == RECIPE_DP and not parameters.get("epsilon", 1):  # 0: the recipe would train without privacy
        yield Reason("runs.no_epsilon_asked", (("algorithm", package.reference),))
    if wish.tier not in TIERS or wish.tier not in tiers_of(package):
        yield Reason(
            "runs.other_tier",
            (("algorithm", package.reference), ("tier", wish.tier[:20]), ("tiers", ", ".join(tiers_of(package)))),
        )


def _of_the_grant(ws: Workspace, wish: Wish, use: Use) -> Iterable[Reason]:
    """What the agreement says. Footage that was taken back alone does not refuse: the rest is there."""
    decision = grant_allows(ws, wish.grant_id, use, party=wish.party_id)
    if not decision.allowed:
        yield from (one for one in decision.reasons if one.code != "grant.asset_withdrawn")


def _of_the_machine(ws: Workspace, package: Package) -> Iterable[Reason]:
    if missing := missing_packages(package.environment):
        yield Reason("runs.no_packages", (("packages", ", ".join(missing)),))
    settings, resources = ws.settings, package.resources
    if resources.memory_mb > settings.run_memory_mb:
        yield Reason(
            "runs.too_much_memory", (("asked", str(resources.memory_mb)), ("most", str(settings.run_memory_mb)))
        )
    if resources.wall_s > settings.run_hours * _HOUR_S:
        yield Reason("runs.too_long", (("asked", str(resources.wall_s)), ("most", str(settings.run_hours * _HOUR_S))))


def _of_the_data(package: Package, chosen: Chosen) -> Iterable[Reason]:
    clips, held_out = len(chosen.data), len(chosen.held_out)
    if clips < package.data.min_clips:
        labels = package.data.labels or "–"
        yield Reason(
            "runs.too_few_clips", (("clips", str(clips)), ("least", str(package.data.min_clips)), ("labels", labels))
        )
    if held_out < LEAST_HELD_OUT:
        yield Reason("runs.no_held_out", (("clips", str(held_out)), ("least", str(LEAST_HELD_OUT))))


def _of_the_limits(ws: Workspace, wish: Wish, policy: Policy, *, counted: bool) -> Iterable[Reason]:
    left = left_of(ws, wish.grant_id)
    runs, output = (left.get(unit, {}).get("left") for unit in (RUNS, OUTPUT_BYTES))
    if runs == 0 and not counted:
        yield Reason("runs.none_left", (("most", str(left[RUNS]["most"])),))
    if output is not None and output < most_of(policy) and not counted:
        yield Reason("runs.budget_too_small", (("needs", str(most_of(policy))), ("left", str(output))))


def _policy(
    wish: Wish, package: Package, parameters: Mapping[str, Any], chosen: Chosen, base: Base | None, terms: Terms
) -> Policy:
    facts = chosen.facts() | ({"base_modules": dict(base.modules)} if base is not None else {})
    declared = declare_outputs(package, parameters, facts)["model"]
    asked = {"is_held": wish.tier == CODE, **ask_of(package, wish.tier, terms)}
    return Policy(declared, metrics=package.metrics, **asked)


__all__ = [
    "Ready",
    "Wish",
    "check_footage",
    "check_run",
    "check_still",
    "missing_approvals",
    "reached_level",
    "refuse",
    "said_in",
]
