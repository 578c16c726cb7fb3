"""The line for data and the line of results: what arrives inside, what comes out, and what is taken for hostile."""

from __future__ import annotations

import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from malan.core.errors import NotFound, NotGranted, UsageError
from malan.runtime.sandbox import Array, Channel, Command, EndRun, Output, RunLimits, run_shut_in
from malan.runtime.sandbox.channel import Overflow, Results

ShutIn = Callable[..., Any]
MIB = 1 << 20
LIMITS = RunLimits(memory_bytes=512 * MIB, wall_s=20, scratch_bytes=8 * MIB)
NUMBERS = {"sums": Output("numbers", 1000)}
SUM_UP = """
import malan_inside
for n, batch in enumerate(malan_inside.batches(frames=4)):
    malan_inside.put_numbers('sums', {'sum': float(batch['frames'].sum()), 'rows': len(batch['frames']), 'n': n})
"""


def three_batches() -> Callable[[dict[str, Any]], dict[str, Any] | None]:
    left = [np.full((request, 5), request, "<f4") for request in (1, 2, 3)]
    return lambda request: {"frames": left.pop(0), "labels": np.arange(4)} if left else None


@pytest.mark.parametrize("shared_bytes", [0, 4096, 64])
def test_arrays_arrive_inside_as_they_were(shut_in: ShutIn, shared_bytes: int) -> None:
    channel = Channel(NUMBERS, three_batches(), shared_bytes)
    ran = shut_in(SUM_UP, LIMITS, channel, packages=("numpy",)).ran
    assert ran.end == "ok"
    assert ran.results["sums"] == {"sum": 45.0, "rows": 3.0, "n": 2.0}


def test_the_loader_hears_what_was_asked(shut_in: ShutIn) -> None:
    heard: list[dict[str, Any]] = []
    shut_in("import malan_inside; malan_inside.ask(clips=['a'], size=256)", LIMITS, Channel(serve=heard.append))
    assert heard == [{"clips": ["a"], "size": 256}]


def test_what_the_loader_raises_ends_the_run_and_reaches_the_caller(shut_in: ShutIn) -> None:
    def withdrawn(_request: dict[str, Any]) -> None:
        raise NotGranted("rights.withdrawn", clip="x")

    with pytest.raises(NotGranted):
        shut_in("import malan_inside; malan_inside.ask(); time.sleep(1000)", LIMITS, Channel(serve=withdrawn))


def test_a_loader_can_end_the_run_as_at_a_limit(shut_in: ShutIn) -> None:
    def used_up(_request: dict[str, Any]) -> None:
        raise EndRun("grant")

    ran = shut_in("import malan_inside; malan_inside.ask(); time.sleep(1000)", LIMITS, Channel(serve=used_up)).ran
    assert (ran.end, ran.limit, ran.results) == ("limit", "grant", {})


def test_names_too_long_for_an_answer_end_the_run(shut_in: ShutIn) -> None:
    channel = Channel(serve=lambda _request: {"x" * 70_000: np.zeros(1)})
    ran = shut_in("import malan_inside; malan_inside.ask(); time.sleep(1000)", LIMITS, channel).ran
    assert (ran.end, ran.limit) == ("limit", "output")


def test_each_result_is_told_as_soon_as_it_is_whole(shut_in: ShutIn) -> None:
    told: list[tuple[str, Any]] = []
    program = """
        import malan_inside
        malan_inside.put('notes', b'a'); malan_inside.put('notes', b'b'); os.kill(os.getpid(), 9)
        """
    channel = Channel({"notes": Output("bytes", 100)}, on_result=lambda *one: told.append(one))
    assert shut_in(program, LIMITS, channel).ran.results == {}
    assert told == [("notes", b"a"), ("notes", b"b")]


def test_a_caller_can_stop_a_run_that_asks_for_nothing(shut_in: ShutIn) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 3

    ran = shut_in("while True: pass", LIMITS, Channel(stop=stop)).ran
    assert (ran.end, ran.limit) == ("limit", "stopped")


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_large_files_can_be_read_below_base_and_nothing_else(shut_in: ShutIn, tmp_path: Path, mode: int) -> None:
    (tmp_path / "weights").write_bytes(b"w" * 100_000)
    (tmp_path / "weights").chmod(mode)
    (tmp_path / "secret").write_bytes(b"frame")
    (tmp_path / "link").symlink_to("weights")
    program = """
        print(sorted(os.listdir('/base')), os.listdir('/base/deep'), len(open('/base/w', 'rb').read()))
        for attempt in (lambda: open('/base/w', 'ab'), lambda: open('/base/x', 'w'),
                        lambda: open('/base/deep/../secret'), lambda: os.remove('/base/w'),
                        lambda: os.symlink('/etc', '/base/etc')):
            try: attempt(); print('ESCAPED')
            except OSError: print('stopped')
        """
    base = {"w": tmp_path / "weights", "deep/link": tmp_path / "link"}
    assert shut_in(program, LIMITS, base=base).log.splitlines() == ["['deep', 'w'] ['link'] 100000", *["stopped"] * 5]


def test_a_file_below_base_that_is_not_there_or_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights").touch()
    for base, kind in (({"w": tmp_path / "gone"}, NotFound), ({"../w": tmp_path / "weights"}, UsageError)):
        with pytest.raises(kind):
            run_shut_in(Command({"main.py": b""}, base=base), LIMITS, "sandbox", Channel())


def test_shared_memory_cannot_be_written_or_resized(shut_in: ShutIn) -> None:
    program = """
        import mmap
        for attempt in (lambda: mmap.mmap(5, 0, prot=mmap.PROT_WRITE | mmap.PROT_READ), lambda: os.pwrite(5, b'x', 0),
                        lambda: os.ftruncate(5, 1 << 30), lambda: os.ftruncate(5, 0)):
            try: attempt(); print('ESCAPED')
            except OSError: print('stopped')
        """
    assert shut_in(program, LIMITS, Channel(serve=three_batches(), shared_bytes=8192)).log.split() == ["stopped"] * 4


def test_a_descriptor_sent_along_is_dropped(shut_in: ShutIn) -> None:
    program = """
        import malan_inside
        from malan_inside import frames
        line = socket.socket(fileno=os.dup(3))
        socket.send_fds(line, [frames.header({'x': 1})], [os.open('/code/main.py', os.O_RDONLY)] * 3)
        print(frames.read_header(lambda size: bytes(malan_inside._read(size))))
        """
    assert "'arrays': None" in shut_in(program, LIMITS, Channel(serve=lambda _request: None)).log


def test_a_run_that_asks_and_never_reads_ends_with_the_clock(shut_in: ShutIn) -> None:
    program = "from malan_inside import frames\nos.write(3, frames.header({}))\ntime.sleep(1000)"
    channel = Channel(serve=lambda _request: {"frames": np.zeros(4 * MIB, "|u1")})
    assert shut_in(program, replace(LIMITS, wall_s=0.3), channel).ran.limit == "wall"


@pytest.mark.parametrize(
    "request_bytes", [b"\xff\xff\xff\xff", b"\x02\0\0\0[]", b"\x03\0\0\0{{{", b"\x02\0\0\0\xff\xff"]
)
def test_a_request_that_is_none_ends_the_run(shut_in: ShutIn, request_bytes: bytes) -> None:
    ran = shut_in(f"os.write(3, {request_bytes!r}); time.sleep(1000)", LIMITS, Channel(serve=lambda _: None)).ran
    assert (ran.end, ran.limit) == ("limit", "output")


def test_bytes_numbers_and_arrays_come_out_as_declared(shut_in: ShutIn) -> None:
    program = """
        import malan_inside, numpy as np
        malan_inside.put('notes', b'abc')
        malan_inside.put_numbers('sums', {'loss': 0.5})
        malan_inside.put_arrays('weights', {'w': np.arange(6, dtype='<f4').reshape(2, 3), 'empty': np.zeros((0, 2))})
        """
    outputs = {"notes": Output("bytes", 100), "weights": Output("arrays", 10_000), **NUMBERS}
    results = shut_in(program, LIMITS, Channel(outputs), packages=("numpy",)).ran.results
    assert results["notes"] == b"abc"
    assert results["sums"] == {"loss": 0.5}
    assert results["weights"]["w"] == Array("<f4", (2, 3), np.arange(6, dtype="<f4").tobytes())
    assert results["weights"]["empty"].shape == (0, 2)


def test_a_run_may_close_its_line_in_the_middle_of_an_answer(shut_in: ShutIn) -> None:
    program = (
        "from malan_inside import frames\nos.write(3, frames.header({}))\nos.read(3, 10)\nos.close(3); time.sleep(0.1)"
    )
    channel = Channel(serve=lambda _request: {"frames": np.zeros(4 * MIB, "|u1")})
    assert shut_in(program, LIMITS, channel).ran.end == "ok"


HOSTILE = {
    "not declared": "malan_inside.put('more', b'x')",
    "another kind": "malan_inside.put_numbers('notes', {'x': 1})",
    "too much at once": "malan_inside.put('notes', bytes(101))",
    "too much in pieces": "[malan_inside.put('notes', bytes(30)) for _ in range(4)]",
    "a flood": "while True: malan_inside.put('notes', b'')",
    "an endless promise": "os.write(4, frames.header({'name': 'notes', 'bytes': 1 << 60}))",
    "a negative size": "os.write(4, frames.header({'name': 'notes', 'bytes': -5}))",
    "no number": "os.write(4, frames.header({'name': 'sums', 'numbers': {'x': float('nan')}}))",
    "numbers that are text": "os.write(4, frames.header({'name': 'sums', 'numbers': {'x': 'frame'}}))",
    "objects": "os.write(4, frames.header({'name': 'arrays', 'arrays': [['w', '|O', [1]]]}))",
    "a shape that overflows": "os.write(4, frames.header({'name': 'arrays', 'arrays': [['w', '<f8', [1 << 39] * 8]]}))",
    "a negative shape": "os.write(4, frames.header({'name': 'arrays', 'arrays': [['w', '<f8', [-1, -1]]]}))",
    "one name twice": "os.write(4, frames.header({'name': 'arrays', 'arrays': [['w', '<f8', [0]]] * 2}))",
    "a long header": "os.write(4, b'\\xff\\xff\\xff\\xff')",
    "no JSON": "os.write(4, b'\\x04\\0\\0\\0abcd')",
    "a list": "os.write(4, b'\\x02\\0\\0\\0[]')",
    "deep nesting": "os.write(4, struct.pack('<I', 60000) + b'[' * 60000)",
    "more beside it": "os.write(4, frames.header({'name': 'notes', 'bytes': 0, 'hidden': 'frame'}))",
    "a name that is no text": "os.write(4, frames.header({'name': ['notes'], 'bytes': 0}))",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_was_not_declared_ends_the_run(shut_in: ShutIn, name: str) -> None:
    outputs = {"notes": Output("bytes", 100), "arrays": Output("arrays", 1000), **NUMBERS}
    program = f"import malan_inside\nfrom malan_inside import frames\n{HOSTILE[name]}\ntime.sleep(1000)"
    ran = shut_in(program, LIMITS, Channel(outputs)).ran
    assert (ran.end, ran.limit, ran.results) == ("limit", "output", {})


def test_a_result_cut_short_is_a_failed_run(shut_in: ShutIn) -> None:
    program = "from malan_inside import frames\nos.write(4, frames.header({'name': 'notes', 'bytes': 50}) + b'x')"
    assert shut_in(program, LIMITS, Channel({"notes": Output("bytes", 100)})).ran.end == "failed"


def test_progress_is_whole_percents_that_rise(shut_in: ShutIn) -> None:
    told: list[int] = []
    program = "import malan_inside\nfor x in (0.1, 0.105, 0.05, 0.5, 7, -1, 1): malan_inside.progress(x)"
    shut_in(program, LIMITS, Channel(on_progress=told.append))
    assert told == [10, 50, 100]


def test_runs_beside_each_other_keep_their_results_apart() -> None:
    def one(number: int) -> object:
        program = f"import malan_inside, time; time.sleep(0.1); malan_inside.put_numbers('sums', {{'n': {number}}})"
        return run_shut_in(Command({"main.py": program.encode()}), LIMITS, "sandbox", Channel(NUMBERS)).results["sums"]

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(one, range(6))) == [{"n": float(number)} for number in range(6)]


def test_results_are_the_same_however_they_arrive() -> None:
    channel = Channel({"notes": Output("bytes", 100)})
    text = b'{"name":"notes","bytes":3}'
    line = struct.pack("<I", len(text)) + text + b"abc"
    for step in (1, 2, 7, len(line)):
        results = Results(channel)
        for start in range(0, len(line), step):
            results.feed(line[start : start + step])
        assert (results.found, results.is_whole) == ({"notes": b"abc"}, True)


def test_names_count_against_the_budget() -> None:
    text = b'{"name":"sums","numbers":{"' + b"frame" * 300 + b'":1}}'
    with pytest.raises(Overflow):
        Results(Channel(NUMBERS)).feed(struct.pack("<I", len(text)) + text)
