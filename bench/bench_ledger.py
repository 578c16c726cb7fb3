"""What the log costs: durable appends, batches, proofs, opening a long log, a full audit; beside peers and the disk.

python bench/bench_ledger.py [--quick] [--json OUT]

The disk's flush rate is measured between the appends, one and one in turn in the same folder, because a shared disk
changes from second to second; rates are those of the median call. Every log is written to disk with every flush, but
the one of ten million entries: it is only made to be opened.
"""

from __future__ import annotations

import hashlib
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from common import Report, arguments, measure
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from malan.core.merkle import leaf_hash
from malan.ledger.audit import audit
from malan.ledger.log import LogWriter
from malan.ledger.note import NoteSigner
from malan.ledger.reader import LogReader

SIGNER = NoteSigner.from_private("bench.example/log", bytes(range(32)))
ENTRY_BYTES = 500
RECORD_BYTES = ENTRY_BYTES + 46
BATCH = 4096
SIGNATURE_BYTES = 64

OPEN = """
import sys, time
from pathlib import Path
started = time.perf_counter()
from malan.ledger.log import LogWriter
from malan.ledger.note import NoteSigner
imported = time.perf_counter()
log = LogWriter.open(Path(sys.argv[1]), NoteSigner.from_private("bench.example/log", bytes(range(32))))
index = log.append([b"first after opening"])[0]
opened = time.perf_counter()
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
log.close(publish=False)
print(index, imported - started, opened - imported, int(peak) / 1024)
"""
BARE = """
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(int(peak) / 1024)
"""
OPEN_PEER = """
import sys, time
from pymerkle import InmemoryTree
started = time.perf_counter()
tree = InmemoryTree(algorithm="sha256")
for i in range(int(sys.argv[1])):
    tree.append_entry(b"%d" % i)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(time.perf_counter() - started, int(peak) / 1024)
"""


def main() -> None:
    given = arguments(__doc__ or "")
    quick = given.quick
    report = Report("The ledger")
    with tempfile.TemporaryDirectory(dir=os.environ.get("MALAN_BENCH_DIR")) as temporary:
        folder = Path(temporary)
        _single(report, folder, 50 if quick else 5000)
        log = _batched(report, folder, 10_000 if quick else 1_000_000)
        _signed(report, folder, 200 if quick else 30_000)
        _proofs(report, log, 20 if quick else 2000)
        _audit(report, log, 1 if quick else given.runs)
        _restart(report, folder, 70_000 if quick else 10_000_000, 1 if quick else 5)
    report.notes.append(
        "Flush rate: 546 bytes written over zeros that are on disk, then fdatasync: what one append needs at least. "
        "What waits for the disk is judged by the clock, what only computes by CPU seconds. "
        "The SQLite chain stores each entry with the hash of the one before and itself, synchronous = FULL."
    )
    report.show()
    if given.json:
        report.save(given.json)


def _entry(i: int) -> bytes:
    return (b"%d " % i).ljust(ENTRY_BYTES, b".")


# One entry at a time, each on disk before the next.


def _single(report: Report, folder: Path, count: int) -> None:
    peer, flush, plain = _chain(folder / "single.db"), _flusher(folder / "zeros"), _grower(folder / "grown")
    with LogWriter.open(folder / "single", SIGNER) as log:
        calls = {
            "ours": lambda i: log.append([_entry(i)]),
            "flush": flush,
            "peer": lambda i: peer([_entry(i)]),
            "plain": plain,
        }
        taken = {name: [] for name in calls}
        for i in range(count):
            for name, call in calls.items():
                taken[name] += _times(call, [i])
    middle = {name: statistics.median(each) for name, each in taken.items()}
    ratio = middle["flush"] / middle["ours"]
    report.add(
        "single durable append",
        f"{1 / middle['ours']:.0f}/s, {ratio:.0%} of the flush rate; p99 {_ms(taken['ours'], 0.99)}",
        peer=f"SQLite chain, FULL: {1 / middle['peer']:.0f}/s; p99 {_ms(taken['peer'], 0.99)}",
        limit=f"flush: {1 / middle['flush']:.0f}/s; write at the end of a file and fsync: {1 / middle['plain']:.0f}/s",
        must="≥ 60 % of the flush rate",
        met=ratio >= 0.6,
    )


def _rate(call: Callable[[int], object], count: int) -> float:
    started = time.perf_counter()
    for i in range(count):
        call(i)
    return count / (time.perf_counter() - started)


def _flusher(path: Path, room: int = 4 << 20) -> Callable[[int], object]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(descriptor, bytes(room), 0)
    os.fsync(descriptor)
    data, turn = b"x" * RECORD_BYTES, iter(range(10**9))

    def flush(_: int) -> None:
        os.pwrite(descriptor, data, next(turn) * RECORD_BYTES % (room - RECORD_BYTES))
        os.fdatasync(descriptor)

    return flush


def _grower(path: Path) -> Callable[[int], object]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def grow(_: int) -> None:
        os.write(descriptor, b"x" * RECORD_BYTES)
        os.fsync(descriptor)

    return grow


def _chain(path: Path) -> Callable[[list[bytes]], None]:
    """The obvious way: a table in which each row holds the hash over the one before. One transaction a call."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE entries (place INTEGER PRIMARY KEY, entry BLOB, chain BLOB)")
    last = [b""]

    def append(entries: list[bytes]) -> None:
        rows = []
        for entry in entries:
            last[0] = hashlib.sha256(last[0] + entry).digest()
            rows.append((entry, last[0]))
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO entries (entry, chain) VALUES (?, ?)", rows)
        connection.execute("COMMIT")

    return append


# Batches.


def _batched(report: Report, folder: Path, count: int) -> Path:
    target = folder / "batched"

    def write() -> None:
        with LogWriter.open(target, SIGNER) as log:
            for first in range(0, count, BATCH):
                log.append([_entry(i) for i in range(first, min(count, first + BATCH))])

    cost, _ = measure(write)
    few = max(1000, count // 10)
    chain = _chain(folder / "batched.db")
    peer, _ = measure(lambda: chain([_entry(i) for i in range(few)]))
    plain, _ = measure(lambda: _write_plainly(folder / "plain", count))
    report.add(
        f"batched append, {count:,} entries of {ENTRY_BYTES} B, unsigned, published",
        f"{count / cost.wall_s:,.0f}/s ({count / cost.cpu_s:,.0f} a CPU second)",
        peer=f"SQLite chain, one transaction of {few:,}: {few / peer.wall_s:,.0f}/s; {_pymerkle_rate(few)}",
        limit=f"writing and flushing the same bytes twice: {count / plain.wall_s:,.0f}/s",
        must="≥ 50,000/s",
        met=count / cost.wall_s >= 50_000,
    )
    return target


def _write_plainly(path: Path, count: int) -> None:
    """Every byte once to a journal, once to its place: what a write-ahead log must write at least."""
    data = _entry(1) * BATCH
    for turn in range(2):
        descriptor = os.open(path.with_suffix(f".{turn}"), os.O_WRONLY | os.O_CREAT)
        for _ in range(0, count, BATCH):
            os.write(descriptor, data)
        os.fsync(descriptor)
        os.close(descriptor)
        path.with_suffix(f".{turn}").unlink()


def _pymerkle_rate(count: int) -> str:
    tree = _pymerkle()
    if tree is None:
        return "pymerkle is not installed"
    return f"pymerkle, in memory only: {_rate(lambda i: tree.append_entry(_entry(i)), count):,.0f}/s"  # type: ignore[attr-defined]


def _pymerkle() -> object | None:
    try:
        from pymerkle import InmemoryTree
    except ImportError:
        return None
    return InmemoryTree(algorithm="sha256")


def _signed(report: Report, folder: Path, count: int) -> None:
    key = Ed25519PrivateKey.generate()
    public = key.public_key()
    bodies = [_entry(i)[:-SIGNATURE_BYTES] for i in range(count)]
    entries = [key.sign(body) + body for body in bodies]

    def check(entry: bytes) -> None:
        public.verify(entry[:SIGNATURE_BYTES], entry[SIGNATURE_BYTES:])

    def write() -> None:
        with LogWriter.open(folder / "signed", SIGNER, check=check) as log:
            for first in range(0, count, BATCH):
                log.append(entries[first : first + BATCH])

    limit, _ = measure(lambda: [check(entry) for entry in entries])
    cost, _ = measure(write)
    report.add(
        f"batched append, {count:,} entries, every Ed25519 signature checked",
        f"{count / cost.wall_s:,.0f}/s ({count / cost.cpu_s:,.0f} a CPU second)",
        limit=f"checking alone: {count / limit.wall_s:,.0f}/s",
        must="≥ 5,000 a CPU second",
        met=count / cost.cpu_s >= 5_000,
    )


# Reading.


def _proofs(report: Report, folder: Path, count: int) -> None:
    log = LogReader(folder, [SIGNER.verifier])
    size, chance = log.size, random.Random(1)
    asked = [chance.randrange(size) for _ in range(count)]
    warm = _times(log.prove, asked + asked)[count:]
    cold = _times(lambda i: LogReader(folder, [SIGNER.verifier]).prove(i), asked[: max(5, count // 20)])
    largest = max(sum(map(len, log.prove(i))) for i in asked[:50])
    growth = _times(log.prove_consistency, [max(1, i) for i in asked])
    tree = _pymerkle()
    peer = "pymerkle is not installed"
    if tree is not None:
        for i in range(size):
            tree.append_entry(b"%d" % i)  # type: ignore[attr-defined]
        few = asked[:10]
        first, again = (_times(lambda i: tree.prove_inclusion(i + 1, size), few) for _ in range(2))  # type: ignore[attr-defined]
        peer = f"pymerkle, all in memory: p50 {_ms(first)}, asked again {_ms(again)}"
    report.add(
        f"inclusion proof at {size:,}",
        f"p50 {_ms(warm)} warm, p99 {_ms(warm, 0.99)}; {_ms(cold)} with nothing read yet; {largest} bytes",
        peer=peer,
        limit=f"{(size - 1).bit_length()} hashes of 32 bytes",
        must="p50 < 1 ms warm, ≤ 1 kB",
        met=statistics.median(warm) < 0.001 and largest <= 1000,
    )
    report.add(f"consistency proof up to {size:,}", f"p50 {_ms(growth)}, p99 {_ms(growth, 0.99)}")


def _times(call: Callable[[int], object], values: list[int]) -> list[float]:
    times = []
    for value in values:
        started = time.perf_counter()
        call(value)
        times.append(time.perf_counter() - started)
    return times


def _ms(times: list[float], quantile: float = 0.5) -> str:
    return f"{sorted(times)[int(quantile * (len(times) - 1))] * 1000:.2f} ms"


def _audit(report: Report, folder: Path, runs: int) -> None:
    costs, size = [], 0
    for _ in range(runs):
        cost, found = measure(lambda: audit(folder, [SIGNER.verifier]))
        assert found.is_whole, found.damages
        costs.append(cost)
        size = found.checkpoint.size
    wall, cpu = (statistics.median(each) for each in ([c.wall_s for c in costs], [c.cpu_s for c in costs]))
    entries = [_entry(i) for i in range(min(size, 100_000))]
    hashing, _ = measure(lambda: [leaf_hash(entry) for entry in entries])
    report.add(
        f"full audit of {size:,} entries",
        f"{size / wall:,.0f}/s ({size / cpu:,.0f} a CPU second)",
        limit=f"hashing the entries alone, nothing read: {len(entries) / hashing.wall_s:,.0f}/s",
        must="≥ 150,000 a CPU second",
        met=size / cpu >= 150_000,
    )


# Opening a long log.


def _restart(report: Report, folder: Path, size: int, runs: int) -> None:
    target = folder / "long"
    with _without_flushes(), LogWriter.open(target, SIGNER, publish_every=1 << 20) as log:
        for first in range(0, size, 1 << 17):
            log.append([b"%d" % i for i in range(first, min(size, first + (1 << 17)))])
    told = [[float(x) for x in _python(OPEN, str(target)).split()] for _ in range(runs)]
    assert told[0][0] == size
    imported, opened, peak = (statistics.median(each[i] for each in told) for i in (1, 2, 3))
    peer, few = "pymerkle is not installed", size // 10
    if _pymerkle() is not None:
        seconds, megabytes = (float(x) for x in _python(OPEN_PEER, str(few)).split())
        peer = f"pymerkle holds all in memory: {seconds:.1f} s and {megabytes:.0f} MB for {few:,}"
    report.add(
        f"open a log of {size:,} entries and append one",
        f"{opened * 1000:.0f} ms (and {imported * 1000:.0f} ms of imports), {peak:.0f} MB",
        peer=peer,
        limit=f"Python with cryptography and nothing else: {float(_python(BARE)):.0f} MB",
        must="< 300 ms, < 100 MB",
        met=opened + imported < 0.3 and peak < 100,
    )


@contextmanager
def _without_flushes() -> Iterator[None]:
    """A log that will only be read need not survive a power cut."""
    with mock.patch("malan.ledger.files._flush"), mock.patch("os.fdatasync"), mock.patch("os.fsync"):
        yield


def _python(program: str, *given: str) -> str:
    done = subprocess.run([sys.executable, "-c", program, *given], capture_output=True, text=True, check=True)
    return done.stdout


if __name__ == "__main__":
    main()
