"""Honest programs end well inside, and none of what they do is taken for an attempt to get out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from malan.runtime.sandbox import Channel, Output, RunLimits

MIB = 1 << 20
LIMITS = RunLimits(memory_bytes=1024 * MIB, wall_s=60, scratch_bytes=64 * MIB)
PROGRAMS = {
    "numbers": """
        import numpy as np
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(500, 20)), rng.normal(size=500)
        weights = np.linalg.lstsq(x, y, rcond=None)[0]
        assert np.linalg.svd(x @ x.T)[1].shape == (500,) and np.fft.fft(y).shape == (500,)
        np.save('/tmp/w.npy', weights); assert np.load('/tmp/w.npy').shape == (20,)
        """,
    "threads": """
        import concurrent.futures, threading, queue
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(lambda n: n * n, range(100))) == 328350
        """,
    "temporary files": """
        import tempfile, shutil, pathlib
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / 'a.txt'; path.write_text('x' * 1000)
            shutil.copytree(folder, folder + '-2'); shutil.copy2(path, folder + '/b.txt')
            os.replace(path, folder + '/c')
            shutil.make_archive(folder + '-3', 'tar', folder); assert sorted(os.listdir(folder)) == ['b.txt', 'c']
        with tempfile.TemporaryFile() as file: file.write(b'x')
        """,
    "processes by fork": """
        import multiprocessing
        def square(n): return n * n
        with multiprocessing.get_context('fork').Pool(3) as pool:
            assert pool.map(square, range(50)) == [n * n for n in range(50)]
        """,
    "shared arrays": """
        import multiprocessing.shared_memory as sm, multiprocessing, numpy as np
        block = sm.SharedMemory(create=True, size=1 << 20)
        np.ndarray((1000,), 'f4', block.buf)[:] = 1
        again = sm.SharedMemory(name=block.name); assert again.size >= 1 << 20
        again.close(); block.close(); block.unlink()
        lock = multiprocessing.Lock(); assert lock.acquire()
        """,
    "another Python": """
        import subprocess
        assert subprocess.run([sys.executable, '-c', 'print(6 * 7)'], capture_output=True, text=True).stdout == '42\\n'
        """,
    "event loop": """
        import asyncio
        async def main(): return sum(await asyncio.gather(*(asyncio.sleep(0.001, n) for n in range(10))))
        assert asyncio.run(main()) == 45
        """,
    "standard library": """
        import sqlite3, zlib, lzma, bz2, hashlib, json, pickle, random, decimal, ssl, uuid, zipfile, datetime, logging
        import platform, getpass, locale, secrets, statistics, csv, xml.etree.ElementTree, email, inspect, cProfile
        sqlite3.connect('/tmp/x.db').execute('create table t (a)'); platform.platform(); uuid.uuid4(); os.cpu_count()
        pickle.loads(pickle.dumps({'a': 1})); hashlib.sha256(b'x').hexdigest(); datetime.datetime.now(); os.getloadavg
        """,
    "signals and timers": """
        import signal
        signal.signal(signal.SIGALRM, lambda *_: None); signal.setitimer(signal.ITIMER_REAL, 0.01); signal.pause()
        """,
    "its own modules": """
        import pathlib, helper
        assert helper.answer == 42 and pathlib.Path('/code/data/x.bin').read_bytes() == b'data'
        """,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_honest_program_ends_well(shut_in: Callable[..., Any], name: str) -> None:
    program = PROGRAMS[name] + "\n"
    lines = program.replace("\n        ", "\n")
    files = {"helper.py": b"answer = 42", "data/x.bin": b"data"}
    shown = shut_in(f"if __name__ == '__main__':\n    pass\n{lines}", LIMITS, packages=("numpy",), files=files)
    assert (shown.ran.end, shown.log) == ("ok", "")
    assert shown.ran.attempts == {}


def test_a_trainer_of_ours_runs_inside(shut_in: Callable[..., Any]) -> None:
    program = """
        import malan_inside, numpy as np
        from malan.core import Span
        batch = malan_inside.ask()
        malan_inside.put_numbers('metrics', {'mean': batch['frames'].mean()})
        """
    import numpy as np

    channel = Channel({"metrics": Output("numbers", 500)}, lambda _request: {"frames": np.ones((4, 4), "<f4")})
    assert shut_in(program, LIMITS, channel, packages=("malan", "numpy")).ran.results == {"metrics": {"mean": 1.0}}


def test_only_packages_on_the_list_are_there(shut_in: Callable[..., Any]) -> None:
    program = """
        import importlib.util, os
        print(sorted(name for name in ('numpy', 'PIL', 'malan', 'pip', 'av') if importlib.util.find_spec(name)))
        """
    assert shut_in(program, LIMITS, packages=("pillow",)).log == "['PIL']\n"
