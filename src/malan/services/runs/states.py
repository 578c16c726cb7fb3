"""What may become of a run: one table of states and steps, and who is next in the queue. Knows no database.

    waiting ─ approve ─▶ queued ─ start ─▶ running ─ hand in ─▶ gate ─ pass ─▶ released
                                                                  ├─ hold ─▶ held ─ allow ─▶ gate
                                                                  └─ refuse ─▶ refused
    any of the first four may be cancelled; running may also fail, or stop at a limit; a worker that dies loses the run,
    which is then queued again and goes on from its last checkpoint

Start reading at `TABLE` and `choose`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from malan.core.errors import Rejected

WAITING, QUEUED, RUNNING, GATE, HELD, RELEASED, REFUSED, FAILED, CANCELLED, STOPPED = STATES = (
    "waiting",
    "queued",
    "running",
    "gate",
    "held",
    "released",
    "refused",
    "failed",
    "cancelled",
    "stopped",
)
OPEN = (WAITING, QUEUED, RUNNING, GATE, HELD)
AT_WORK = (RUNNING, GATE)
OVER = (RELEASED, REFUSED, FAILED, CANCELLED, STOPPED)
RESUMABLE = (FAILED, STOPPED)

SUBMIT, APPROVE, START, WAIT, HAND_IN, LOSE, PASS, HOLD, ALLOW, REFUSE, FAIL, STOP, CANCEL, RESUME = ACTIONS = (
    "submit",
    "approve",
    "start",
    "wait",
    "hand_in",
    "lose",
    "pass",
    "hold",
    "allow",
    "refuse",
    "fail",
    "stop",
    "cancel",
    "resume",
)

LOW, NORMAL, HIGH = -1, 0, 1
PRIORITIES: Mapping[str, int] = {"low": LOW, "normal": NORMAL, "high": HIGH}

TABLE: Mapping[tuple[str, str], str] = {
    (WAITING, APPROVE): QUEUED,
    (WAITING, REFUSE): REFUSED,
    (WAITING, CANCEL): CANCELLED,
    (QUEUED, START): RUNNING,
    (QUEUED, CANCEL): CANCELLED,
    (RUNNING, WAIT): QUEUED,  # what it needs is held by others: nothing of it has run
    (RUNNING, LOSE): QUEUED,
    (RUNNING, HAND_IN): GATE,
    (RUNNING, REFUSE): REFUSED,
    (RUNNING, FAIL): FAILED,
    (RUNNING, STOP): STOPPED,
    (RUNNING, CANCEL): CANCELLED,
    (GATE, LOSE): GATE,
    (GATE, PASS): RELEASED,
    (GATE, HOLD): HELD,
    (GATE, REFUSE): REFUSED,
    (GATE, FAIL): FAILED,
    (GATE, CANCEL): CANCELLED,
    (HELD, ALLOW): GATE,
    (HELD, REFUSE): REFUSED,
    (HELD, CANCEL): CANCELLED,
    (FAILED, RESUME): QUEUED,
    (STOPPED, RESUME): QUEUED,
}


def after(state: str, action: str) -> str:
    """The state after a step.

    Raises:
        Rejected: Not from this state.
    """
    found = TABLE.get((state, action))
    if found is None:
        raise Rejected("runs.wrong_state", state=state, action=action)
    return found


@dataclass(frozen=True, slots=True)
class Queued:
    """What the queue looks at of a run."""

    id: str
    party_id: str
    priority: int
    submitted_s: float


def choose(
    queued: Sequence[Queued],
    at_work: Collection[str],
    last_started_s: Mapping[str, float],
    most_at_once: int,
) -> Queued | None:
    """The run that is next: parties take turns, and none has more than its share at work.

    Runs the operator raised go first. Then the party with the fewest runs at work, of those the one whose last start
    is the longest ago; of its own runs the one it prefers, then the oldest.

    Args:
        queued: Runs that wait for a worker.
        at_work: The party of each run that is at work, one entry a run.
        last_started_s: When a run of each party was last started.
        most_at_once: Of one party.
    """
    busy = Counter(at_work)

    def place(run: Queued) -> tuple[bool, int, float, int, float, str]:
        last = last_started_s.get(run.party_id, 0.0)
        return (run.priority <= NORMAL, busy[run.party_id], last, -run.priority, run.submitted_s, run.id)

    return min((run for run in queued if busy[run.party_id] < most_at_once), key=place, default=None)
