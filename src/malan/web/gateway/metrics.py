"""What the gateway counts of itself, and its page for Prometheus (text format 0.0.4).

Counters live in this process and begin at zero with it; jobs and budgets are read from the database when somebody asks.
Names of parties, keys and prompts are never in it. Start at `Counts.page`.
"""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from malan import __version__

_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_MOST_NAMES = 500

Labels = tuple[tuple[str, str], ...]


class Histogram:
    """How long things took."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        place = next((n for n, bound in enumerate(_BOUNDS_S) if seconds <= bound), len(_BOUNDS_S))
        self.counts[place] += 1
        self.sum_s += seconds


class Counts:
    """Counted since this process began; from one thread only, the loop's."""

    def __init__(self) -> None:
        self._began_s = time.time()
        self._requests: Counter[Labels] = Counter()
        self._failures: Counter[Labels] = Counter()
        self._amounts: Counter[Labels] = Counter()
        self._micro: Counter[Labels] = Counter()
        self._routes: dict[str, Histogram] = {}
        self._engines: dict[str, Histogram] = {}
        self.under_way = 0

    def asked(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests[("route", route), ("status", str(status))] += 1
        self._routes.setdefault(route, Histogram()).add(seconds)

    def answered(self, engine: str, seconds: float) -> None:
        """An engine answered."""
        if engine in self._engines or len(self._engines) < _MOST_NAMES:
            self._engines.setdefault(engine, Histogram()).add(seconds)

    def failed(self, engine: str, code: str) -> None:
        """An engine did not."""
        self._failures[("engine", engine), ("code", code)] += 1

    def used(self, engine: str, taken: int, given: int, micro: int, currency: str) -> None:
        """What was settled."""
        self._amounts[("engine", engine), ("direction", "input")] += taken
        self._amounts[("engine", engine), ("direction", "output")] += given
        self._micro[("engine", engine), ("currency", currency)] += micro

    def page(
        self, jobs: Mapping[tuple[str, str], int], workers: Mapping[str, int], waits_s: Mapping[str, float]
    ) -> str:
        """The page; `jobs` by device and state, `workers` and the longest wait by device."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        by_state: dict[Labels, float] = {
            (("device", device), ("state", state)): n for (device, state), n in sorted(jobs.items())
        }
        lines = [
            *_series("malan_build_info", "gauge", "Version of this program.", {(("version", __version__),): 1}),
            *_series("malan_http_requests_total", "counter", "Requests answered.", self._requests),
            *_histograms("malan_http_request_duration_seconds", "Time to answer a request.", "route", self._routes),
            *_one("malan_http_requests_in_progress", "gauge", "Requests being answered.", self.under_way),
            *_histograms("malan_engine_duration_seconds", "Time an engine took to answer.", "engine", self._engines),
            *_series("malan_engine_failures_total", "counter", "Times an engine did not answer.", self._failures),
            *_series("malan_engine_units_total", "counter",
                     "What engines took and gave: tokens, characters, milliseconds of media, pictures.", self._amounts),
            *_series("malan_cost_micro_total", "counter", "What was charged, in millionths of the smallest unit.",
                     self._micro),
            *_series("malan_jobs", "gauge", "Jobs that are kept, by device and state.", by_state),
            *_series("malan_job_wait_seconds", "gauge", "How long the job that waits the longest has waited.",
                     {(("device", device),): round(wait, 3) for device, wait in sorted(waits_s.items())}),
            *_series("malan_job_workers", "gauge", "Workers that are there.",
                     {(("device", device),): n for device, n in sorted(workers.items())}),
            *_one("process_start_time_seconds", "gauge", "When it began.", round(self._began_s, 3)),
            *_one("process_cpu_seconds_total", "counter", "CPU time.", round(usage.ru_utime + usage.ru_stime, 3)),
            *_one("process_resident_memory_bytes", "gauge", "Memory in use.", _resident_bytes()),
            *_one("process_open_fds", "gauge", "Open files.", sum(1 for _ in Path("/proc/self/fd").iterdir())),
        ]  # fmt: skip
        return "\n".join(lines) + "\n"


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _series(name: str, kind: str, about: str, values: Mapping[Labels, float]) -> Iterable[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    for labels, value in values.items():
        yield f"{name}{{{_labels(labels)}}} {value}"


def _one(name: str, kind: str, about: str, value: float) -> Iterable[str]:
    yield from (f"# HELP {name} {about}", f"# TYPE {name} {kind}", f"{name} {value}")


def _histograms(name: str, about: str, label: str, found: Mapping[str, Histogram]) -> Iterable[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} histogram"
    for one, histogram in found.items():
        named, total = _labels(((label, one),)), 0
        for bound, count in zip((*_BOUNDS_S, "+Inf"), histogram.counts, strict=True):
            total += count
            yield f'{name}_bucket{{{named},le="{bound}"}} {total}'
        yield f"{name}_sum{{{named}}} {histogram.sum_s:.6f}"
        yield f"{name}_count{{{named}}} {total}"


def _labels(labels: Labels) -> str:
    return ",".join(f'{name}="{_safe(value)}"' for name, value in labels)


def _safe(value: str) -> str:
    return value[:120].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
