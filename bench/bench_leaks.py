"""What a stranger's algorithm can take along: every attack of the leak suite, each in a run of its own with a secret of
its own, through the whole pipeline and in a sandbox of mounts alone; and honest runs, none of which may be stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import Report, arguments

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / name) for name in ("training/leaks", "training", "services", "")]

from leak_attacks import ATTACKS, SECRET_BYTES, Attack, Received, recovered  # noqa: E402
from leak_ears import Ears, listening  # noqa: E402
from leak_peer import run_at_the_peer  # noqa: E402
from leak_run import run_ours, workspace  # noqa: E402

from malan.workspace import Workspace  # noqa: E402

MUST_HELD, HONEST_RUNS = 0.95, 50
NOTE = f"""Each run has {SECRET_BYTES} random bytes in its footage. Recovered is what the attack's own decoder, or a
search for any four of them in the clear, backwards or in hexadecimal, finds in everything the buyer receives:
files, figures, reasons, minutes, seconds used; at the peer also exit status, log and exact times. Charged: no more
was recovered than the contract's output budget paid for. The owner releases whatever the gate passes. –: would take
a machine without limits along."""
QUICK = ("a byte in each of some weights", "an extra tensor's name", "a file", "a connection", "the exit status")


def verdict(got: Received, taken: int) -> str:
    """Stopped, charged to the budget, or leaked."""
    if not taken:
        return "stopped"
    return "charged" if taken <= got.charged else "leaked"


def tried(ws: Workspace, attack: Attack, ears: Ears, number: int) -> tuple[Received, int]:
    """One attack in our pipeline: what the buyer got, and how many bytes of the secret are in it."""
    secret = os.urandom(SECRET_BYTES)
    got = run_ours(ws, attack, secret, ears.where, number=number)
    got.heard = ears.heard()
    return got, recovered(attack, got, secret)


def tried_at_the_peer(attack: Attack, ears: Ears, folder: Path) -> int | None:
    """The same at the peer; None where it would take the machine along."""
    if not attack.at_the_peer:
        return None
    secret = os.urandom(SECRET_BYTES)
    try:
        got = run_at_the_peer(attack, secret, ears.where, folder)
    except subprocess.TimeoutExpired:
        return None
    got.heard = ears.heard()
    return recovered(attack, got, secret)


def attacks(report: Report, chosen: tuple[Attack, ...], folder: Path) -> None:
    """A row for each attack, then the sums."""
    ends = {"stopped": 0, "charged": 0, "leaked": 0}
    peer_leaks = peer_tried = 0
    ws = workspace(folder / "ws", 500_000_000)
    with listening(folder) as ears:
        for number, attack in enumerate(chosen):
            got, taken = tried(ws, attack, ears, number)
            at_peer = tried_at_the_peer(attack, ears, folder / f"peer{number}")
            found = verdict(got, taken)
            ends[found] += 1
            peer_tried += at_peer is not None
            peer_leaks += bool(at_peer)
            told = f"{found} ({got.state})" if not taken else f"{found}: {taken} bytes of {got.charged} paid for"
            peer = "–" if at_peer is None else f"{at_peer} bytes" if at_peer else "nothing"
            report.add(attack.name, told, peer=peer, limit=f"{SECRET_BYTES} bytes")
    ws.database.dispose()
    held = (ends["stopped"] + ends["charged"]) / len(chosen)
    report.add(
        f"all {len(chosen)} attacks",
        f"{100 * held:.0f} % ({ends['stopped']} stopped, {ends['charged']} charged, {ends['leaked']} leaked)",
        peer=f"{peer_leaks} of {peer_tried} leaked, none charged",
        must=f"≥ {100 * MUST_HELD:.0f} % stopped or charged",
        met=held >= MUST_HELD,
    )


def honest(report: Report, runs: int, folder: Path) -> None:
    """Taggers with other seeds and parameters, from order to release: services, sandbox, gate, registry."""
    from run_place import BUYER, SET, grant_on

    from malan.services.market.contracts import Changes
    from malan.services.runs.states import RELEASED
    from malan.services.runs.submission import Asked, get_run, submit_run
    from malan.services.runs.worker import work

    ws = Workspace.create(folder / "honest")
    limits = {"clip_seconds": 10_000_000, "runs": 10 * runs, "output_bytes": 1_000_000_000}
    grant = grant_on(ws, limits=limits, changes=Changes(limits=limits))
    alarms = []
    for seed in range(runs):
        said = {"label_set": SET, "hidden": (0, 4, 12, 32)[seed % 4], "balance": (0.0, 0.5, 1.0)[seed % 3]}
        run = submit_run(ws, "tagger", grant, said, asked=Asked(seed=seed), caller=BUYER)
        work(ws, once=True)
        ended = get_run(ws, run.id, caller=BUYER)
        if ended.state != RELEASED:
            alarms.append(f"{seed}: {ended.state}")
    report.add(
        f"honest runs ({runs} taggers, other seeds and parameters)",
        f"{len(alarms)} false alarms{': ' + '; '.join(alarms[:3]) if alarms else ''}",
        must="0",
        met=not alarms,
    )
    ws.database.dispose()


def main() -> None:
    asked = arguments(__doc__ or "")
    report = Report("Leaks: algorithms that try to take footage along")
    chosen = tuple(one for one in ATTACKS if one.name in QUICK) if asked.quick else ATTACKS
    with tempfile.TemporaryDirectory() as place:
        attacks(report, chosen, Path(place))
        honest(report, 2 if asked.quick else HONEST_RUNS, Path(place))
    report.notes.append(NOTE)
    report.show()
    if asked.json:
        report.save(asked.json)


if __name__ == "__main__":
    main()
