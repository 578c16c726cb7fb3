"""The level is what the attacks show: one wall taken away, and the run is refused before its first instruction."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from malan.core.errors import MalanError, NotFound, Rejected, UsageError
from malan.rights.decide import LEVELS
from malan.runtime.sandbox import Channel, Command, RunLimits, launch, level, measure_level, run, run_shut_in
from malan.runtime.sandbox.inside import landlock

SOURCE = Path(run.__file__).parents[3]
PROGRAM = Command({"main.py": b"print('ran')"})


def refused(tmp_path: Path, floor: str = "sandbox") -> Rejected:
    """The refusal of a program that must not have begun."""
    with pytest.raises(Rejected) as caught:
        run_shut_in(PROGRAM, RunLimits(), floor, Channel(), log=tmp_path / "log")
    assert not (tmp_path / "log").exists() or (tmp_path / "log").read_bytes() == b""
    return caught.value


def without(option: str) -> Callable[..., list[str]]:
    walls = launch._walls
    return lambda *arguments: [word for word in walls(*arguments) if word != option]


def test_all_walls_stand_here() -> None:
    reached = run_shut_in(PROGRAM, RunLimits(), "sandbox", Channel()).level
    assert (reached.name, reached.failed) == ("sandbox", ())
    evidence = reached.evidence()
    assert evidence["held"] == evidence["tried"] >= 50
    assert evidence["landlock_abi"] >= 1


def test_a_machine_is_measured_with_slow_attacks_too() -> None:
    reached = measure_level()
    assert (reached.name, reached.failed) == ("sandbox", ())
    assert {"limits.processes", "limits.scratch"} <= {probe.name for probe in reached.probes}


def test_a_machine_whose_walls_leak_is_measured_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_walls", without("--unshare-net"))
    assert (measure_level().name, measure_level().failed) == ("process", ("namespace.net",))


def test_levels_are_those_that_terms_name() -> None:
    assert level.LEVELS == LEVELS


@pytest.mark.parametrize(
    ("option", "shows"),
    [
        ("--unshare-net", "namespace.net"),
        ("--unshare-ipc", "namespace.ipc"),
        ("--unshare-cgroup", "namespace.cgroup"),
        ("--unshare-pid", "namespace.pid"),
    ],
)
def test_a_missing_namespace_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, shows: str
) -> None:
    monkeypatch.setattr(launch, "_walls", without(option))
    assert shows in refused(tmp_path).values["failed"]


def test_a_filter_that_lets_all_through_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "guest_filter", lambda: struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))
    monkeypatch.setattr(launch, "outer_filter", lambda: struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))
    failed = refused(tmp_path).values["failed"].split(", ")
    assert {"call.io_uring", "network.inet", "call.x32"} <= set(failed)


def test_a_root_that_can_be_written_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walls, lay_out = launch._walls, run.lay_out

    def writable(*arguments: Any) -> list[str]:
        words = walls(*arguments)
        at = words.index("/", words.index("--tmpfs")) - 1
        return words[:at] + words[at + 2 :]

    def loose(*arguments: Any) -> Any:
        layout = lay_out(*arguments)
        return replace(layout, landlock={**layout.landlock, "/": landlock.WRITE})

    monkeypatch.setattr(launch, "_walls", writable)
    monkeypatch.setattr(run, "lay_out", loose)
    assert {"files.write /", "files.landlock"} <= set(refused(tmp_path).values["failed"].split(", "))


def test_a_lower_floor_says_which_level_it_ran_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_walls", without("--unshare-ipc"))
    ran = run_shut_in(PROGRAM, RunLimits(), "process", Channel())
    assert (ran.level.name, ran.level.failed) == ("process", ("namespace.ipc",))


def test_nothing_weaker_is_tried_without_bubblewrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_arguments, **_named: None)
    assert refused(tmp_path, "none").code == "sandbox.no_bubblewrap"


def test_nothing_weaker_is_tried_where_the_kernel_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "bwrap"
    script.write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2\nexit 1\n")
    for folder in (script, tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    monkeypatch.setattr(launch, "bubblewrap", lambda: str(script))
    error = refused(tmp_path, "none")
    assert error.code == "sandbox.unavailable"
    assert "No permissions" in error.values["detail"] or os.geteuid() == 0


def test_other_machines_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.platform, "machine", lambda: "aarch64")
    assert refused(tmp_path, "none").code == "sandbox.machine"


def test_nobody_reaches_confidential_here(tmp_path: Path) -> None:
    assert refused(tmp_path, "confidential").code == "sandbox.below_floor"


@pytest.mark.parametrize(
    ("error", "command", "floor"),
    [
        (UsageError, PROGRAM, "perfect"),
        (UsageError, Command({"../x.py": b""}), "sandbox"),
        (UsageError, Command({"/etc/x": b""}), "sandbox"),
        (NotFound, replace(PROGRAM, packages=("no-such-thing",)), "sandbox"),
    ],
)
def test_what_makes_no_sense_is_refused(error: type[MalanError], command: Command, floor: str) -> None:
    with pytest.raises(error):
        run_shut_in(command, RunLimits(), floor, Channel())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to lose")
def test_root_of_a_closed_container_is_refused_with_the_reason() -> None:
    program = (
        "from malan.runtime.sandbox import *\n"
        "try: run_shut_in(Command({'main.py': b''}), RunLimits(), 'none', Channel())\n"
        "except Exception as error: print(error.code, error.values['detail'])"
    )
    command = ["setpriv", "--bounding-set", "-sys_admin", sys.executable, "-c", program]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert text == "sandbox.unavailable Operation not permitted\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_reaches_the_same_level(tmp_path: Path) -> None:
    home = Path("/tmp/malan-test-user")
    home.mkdir(exist_ok=True)
    os.chown(home, 65_533, 65_533)
    program = (
        "from malan.runtime.sandbox import *\n"
        "ran = run_shut_in(Command({'main.py': b''}), RunLimits(), 'sandbox', Channel())\n"
        "print(ran.end, ran.level.name)"
    )
    try:
        result = subprocess.run(
            [shutil.which("python3", path="/usr/bin") or sys.executable, "-B", "-c", program],
            env={"PYTHONPATH": str(SOURCE), "HOME": str(home), "TMPDIR": str(home)},
            user=65_533,
            group=65_533,
            extra_groups=[],
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(home)
    assert result.stdout == "ok sandbox\n", result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's run belongs to that user")
def test_roots_run_does_not_belong_to_root(shut_in: Callable[..., Any]) -> None:
    owners: list[int] = []

    def look(_percent: int) -> None:
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if b"mark-owner" in (path / "cmdline").read_bytes() and b"bwrap" not in (path / "cmdline").read_bytes():
                    owners.append(path.stat().st_uid)
            except OSError:
                continue

    program = "import malan_inside; malan_inside.progress(0.5); time.sleep(0.3)"
    shut_in(program, RunLimits(), Channel(on_progress=look), arguments=("mark-owner",))
    assert set(owners) == {launch.GUEST_ID}
