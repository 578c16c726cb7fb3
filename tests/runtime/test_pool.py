"""The pool: limits, deaths, order, and what crosses the border."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import worker_tasks
from waiting import until

from malan.core.errors import MalanError, MediaError, RetryLater, WorkerDied
from malan.runtime import Limits, Outcome, Task, WorkerPool
from malan.runtime.limits import MIB, usage
from malan.runtime.wire import pack, unpack

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(2) as pool:
        yield pool


def one(pool: WorkerPool, function: str, *arguments: object, limits: Limits | None = None) -> Outcome:
    return next(iter(pool.run([Task(f"worker_tasks:{function}", arguments, limits=limits)])))


def error_of(outcome: Outcome) -> MalanError:
    assert outcome.error is not None
    return outcome.error


def test_every_task_has_its_outcome(pool: WorkerPool) -> None:
    outcomes = pool.run(Task("worker_tasks:double", (n,), key=n) for n in range(200))
    assert {o.key: o.result() for o in outcomes} == {n: 2 * n for n in range(200)}


def test_ordered_outcomes_keep_the_order_of_the_source(pool: WorkerPool) -> None:
    waits = [0.2, 0, 0, 0.1, 0]
    tasks = [Task("worker_tasks:sleep_then", (wait, n)) for n, wait in enumerate(waits)]
    assert [o.result() for o in pool.run(tasks, ordered=True)] == [0, 1, 2, 3, 4]


def test_work_happens_in_other_processes_than_this_one(pool: WorkerPool) -> None:
    own, parent = one(pool, "where").result()
    assert own != os.getpid()
    assert parent == os.getpid()


def test_workers_use_one_thread(pool: WorkerPool) -> None:
    assert one(pool, "threads_allowed").result() == "1"


def test_an_error_of_ours_keeps_its_class_code_and_values(pool: WorkerPool) -> None:
    error = error_of(one(pool, "refuse", "a \udcff name"))
    assert isinstance(error, MediaError)
    assert error.code == "media.no_video"
    assert error.values == {"path": "a \udcff name"}


def test_any_other_exception_is_reported_with_its_place(pool: WorkerPool) -> None:
    error = error_of(one(pool, "break_down"))
    assert error.code == "runtime.task_failed"
    assert "nothing to divide by" in error.message("en")
    assert "worker_tasks.py" in error.message("en")


def test_what_the_system_refuses_can_be_tried_again(pool: WorkerPool) -> None:
    error = error_of(one(pool, "fill_the_disk"))
    assert isinstance(error, RetryLater)
    assert "No space left" in error.message("en")


@pytest.mark.parametrize(("function", "signal_name"), [("crash", "SIGSEGV"), ("kill_self", "SIGKILL")])
def test_a_worker_that_dies_is_reported_for_its_task_alone(pool: WorkerPool, function: str, signal_name: str) -> None:
    arguments = ("SIGKILL",) if function == "kill_self" else ()
    tasks = [Task("worker_tasks:double", (n,), key=n) for n in range(20)]
    tasks.insert(5, Task(f"worker_tasks:{function}", arguments, key="bad"))
    outcomes = {o.key: o for o in pool.run(tasks)}
    assert error_of(outcomes.pop("bad")).values == {"how": signal_name}
    assert [outcomes[n].result() for n in range(20)] == [2 * n for n in range(20)]


def test_a_task_above_its_memory_is_ended(pool: WorkerPool) -> None:
    error = error_of(one(pool, "eat_memory", 2000, limits=Limits(memory_bytes=150 * MIB)))
    assert isinstance(error, WorkerDied)
    assert error.code == "runtime.out_of_memory"
    assert error.values == {"limit_mb": 150}


def test_one_huge_allocation_is_refused_inside_the_worker(pool: WorkerPool) -> None:
    assert error_of(one(pool, "reserve_memory", 64)).code == "runtime.out_of_memory"


def test_a_task_above_its_time_is_ended(pool: WorkerPool) -> None:
    assert error_of(one(pool, "sleep_then", 30, 1, limits=Limits(wall_s=0.2))).code == "runtime.out_of_time"


def test_a_task_above_its_cpu_time_is_ended(pool: WorkerPool) -> None:
    assert error_of(one(pool, "spin", limits=Limits(cpu_s=0.2))).code == "runtime.out_of_time"


def test_programs_a_task_started_end_with_it(pool: WorkerPool) -> None:
    one(pool, "start_program", limits=Limits(wall_s=0.5))
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert "sleep 61.25" not in left


def test_progress_reaches_the_caller(pool: WorkerPool) -> None:
    heard: list[tuple[str, int]] = []
    tasks = [Task("worker_tasks:tell", (3,), key="a")]
    list(pool.run(tasks, on_progress=lambda key, value: heard.append((key, value))))
    assert heard == [("a", 0), ("a", 1), ("a", 2)]


def test_what_progress_raises_ends_the_run_and_reaches_the_caller(pool: WorkerPool) -> None:
    def stop(_key: object, _value: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(pool.run([Task("worker_tasks:tell", (3,)), Task("worker_tasks:sleep_then", (60, 1))], on_progress=stop))
    assert one(pool, "double", 2).result() == 4


def test_while_nothing_ends_the_caller_may_look_whether_to_go_on(pool: WorkerPool) -> None:
    def stop() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        list(pool.run([Task("worker_tasks:sleep_then", (60, 1))], on_wait=stop))


def test_the_source_is_read_only_a_few_tasks_ahead(pool: WorkerPool) -> None:
    taken: list[int] = []
    outcomes = pool.run(worker_tasks.numbers(taken, 1000))
    for _ in range(10):
        next(outcomes)
    assert len(taken) <= 10 + 5 * pool.size
    outcomes.close()


def test_what_does_not_fit_beside_the_running_waits_and_what_fits_goes_on() -> None:
    tasks = [
        Task("worker_tasks:sleep_then", (0.5, 1), key="large", expected_bytes=80),
        Task("worker_tasks:double", (1,), key="as large", expected_bytes=80),
        Task("worker_tasks:double", (1,), key="small", expected_bytes=20),
        Task("worker_tasks:double", (1,), key="too large for any budget", expected_bytes=1000),
    ]
    with WorkerPool(2, budget_bytes=100) as pool:
        ended = [outcome.key for outcome in pool.run(tasks)]
    assert ended.index("as large") > ended.index("large")
    assert sorted(ended) == sorted(task.key for task in tasks)


def test_leaving_early_ends_what_runs(pool: WorkerPool) -> None:
    outcomes = pool.run([Task("worker_tasks:double", (1,)), Task("worker_tasks:sleep_then", (60, 1))])
    next(outcomes)
    outcomes.close()
    assert one(pool, "double", 4).result() == 8


def test_two_callers_share_one_pool(pool: WorkerPool) -> None:
    first = pool.run(Task("worker_tasks:double", (n,)) for n in range(30))
    second = pool.run(Task("worker_tasks:double", (n,)) for n in range(100, 130))
    results = [o.result() for pair in zip(first, second, strict=True) for o in pair]
    assert sorted(results) == [2 * n for n in (*range(30), *range(100, 130))]


def test_an_object_a_worker_may_not_send_is_refused(pool: WorkerPool) -> None:
    assert error_of(one(pool, "stranger")).code == "runtime.bad_message"


@pytest.mark.parametrize("value", [Fraction(1, 3), {"a": (1, 2.5, b"x")}, Path("a b"), frozenset({1})])
def test_plain_values_cross_the_border(value: object) -> None:
    assert unpack(pack(value)) == value


def test_a_function_never_crosses_the_border() -> None:
    with pytest.raises(WorkerDied):
        unpack(pack(os.system))


def test_a_killed_parent_takes_its_workers_along(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(HERE)!r}); import worker_tasks as w; w.serve_forever({str(tmp_path)!r})"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    workers = [int(file.name) for file in tmp_path.iterdir()]
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    until(lambda: all(usage(pid) is None or _is_zombie(pid) for pid in workers))


def test_whoever_waits_is_told_when_the_pool_is_closed() -> None:
    pool = WorkerPool(1)
    outcomes = pool.run([Task("worker_tasks:sleep_then", (60, 1)), Task("worker_tasks:double", (1,))])
    threading.Timer(0.3, pool.close).start()
    assert [error_of(outcome).code for outcome in outcomes] == ["runtime.worker_died"] * 2


def test_a_task_that_cannot_be_sent_fails_where_it_is_made(pool: WorkerPool) -> None:
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        next(pool.run([Task("worker_tasks:double", (lambda: None,))]))
    assert one(pool, "double", 2).result() == 4


def test_a_worker_that_cannot_be_started_costs_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malan.runtime.pool.sys.executable", "/nowhere/python")
    with WorkerPool(1) as pool:
        errors = [error_of(outcome) for outcome in pool.run([Task("worker_tasks:double", (n,)) for n in range(3)])]
        assert [error.code for error in errors] == ["runtime.no_worker"] * 3


def test_large_arguments_and_results_pass(pool: WorkerPool) -> None:
    data = bytes(range(256)) * 40_000
    assert one(pool, "echo", data).result() == data


def test_a_closed_pool_takes_nothing() -> None:
    pool = WorkerPool(1)
    pool.close()
    with pytest.raises(RuntimeError):
        next(pool.run([Task("worker_tasks:double", (1,))]))


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
