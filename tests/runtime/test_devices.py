"""One user at a time on a device; what is idle goes; what is cancelled leaves nothing."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from waiting import until

from malan.core.errors import RetryLater
from malan.runtime import devices as module
from malan.runtime.device_memory import free_mb
from malan.runtime.devices import Devices, Wanted


class Thing:
    """Counts how often it is closed."""

    made = 0

    def __init__(self) -> None:
        Thing.made += 1
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Stopped(Exception):
    """Raised by a stop of these tests."""


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[Devices]:
    Thing.made = 0
    found = Devices(tmp_path / "devices")
    yield found
    found.close()


def wanted(name: str = "wan", **more: object) -> Wanted[Thing]:
    return replace(Wanted(name, "1", "cpu", Thing), **more)  # type: ignore[arg-type]


def test_what_stands_is_used_again(devices: Devices) -> None:
    with devices.hold(wanted()) as first:
        pass
    with devices.hold(wanted()) as second:
        assert second is first
    assert Thing.made == 1
    assert devices.names() == ["wan"]


def test_another_thing_of_the_name_takes_its_place(devices: Devices) -> None:
    with devices.hold(wanted()) as first:
        pass
    with devices.hold(wanted(mark="2")) as second:
        assert second is not first
    assert first.closed == 1


def test_what_shall_not_stay_is_closed_at_once(devices: Devices) -> None:
    with devices.hold(wanted(idle_s=0)) as thing:
        pass
    assert (thing.closed, devices.names()) == (1, [])


def test_what_nobody_asks_for_is_closed_by_itself(devices: Devices) -> None:
    with devices.hold(wanted(idle_s=0.02)) as thing:
        pass
    until(lambda: thing.closed == 1)
    assert not list(devices._folder.glob("cpu.*.*"))


def test_what_is_used_is_not_closed(devices: Devices) -> None:
    with devices.hold(wanted(idle_s=0.0001)) as thing:
        time.sleep(0.01)
        devices.close_idle()
        devices.close()
        assert thing.closed == 0


def test_a_device_has_one_user_at_a_time(devices: Devices) -> None:
    at_work: list[int] = []

    def work(number: int) -> None:
        with devices.hold(wanted(f"m{number % 3}")):
            at_work.append(number)
            assert len(at_work) == 1
            at_work.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert Thing.made == 3


def test_whoever_has_the_device_may_ask_for_more_on_it(devices: Devices) -> None:
    with devices.hold(wanted("a")), devices.hold(wanted("b")):
        assert devices.names() == ["a", "b"]


def test_without_a_device_any_number_use_it(devices: Devices) -> None:
    with devices.hold(wanted(device="")) as first, devices.hold(wanted(device="")) as second:
        assert first is second
    with devices.hold(wanted(device="")) as old:
        with devices.hold(wanted(device="", mark="2")):
            assert old.closed == 0
        assert old.closed == 0
    assert old.closed == 1


def test_waiting_ends_when_it_is_stopped_or_takes_too_long(devices: Devices) -> None:
    asked = threading.Event()

    def stop() -> None:
        if asked.is_set():
            raise Stopped
        asked.set()

    def try_it(**more: object) -> None:
        try:
            with devices.hold(wanted("b", **more)):
                raise AssertionError
        except (Stopped, RetryLater) as error:
            ended.append(type(error))

    ended: list[type] = []
    with devices.hold(wanted("a")):
        for more in ({"stop": stop}, {"patience_s": 0.0}):
            thread = threading.Thread(target=try_it, kwargs=more)
            thread.start()
            thread.join()
    assert ended == [Stopped, RetryLater]
    with devices.hold(wanted("b")):
        assert devices.names() == ["a", "b"]


def test_a_loading_that_is_cancelled_leaves_nothing(devices: Devices) -> None:
    def load() -> Thing:
        raise Stopped

    with pytest.raises(Stopped), devices.hold(wanted(load=load)):
        pass
    assert devices.names() == []
    assert [one.name for one in devices._folder.iterdir()] == ["cpu.lock"]
    with devices.hold(wanted()) as thing:
        assert thing.closed == 0


def test_the_longest_idle_makes_room(devices: Devices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_mb", lambda _: 100.0 - 40 * len(devices.names()))
    with devices.hold(wanted("a", memory_mb=40)) as oldest:
        pass
    with devices.hold(wanted("b", memory_mb=40)) as newer:
        pass
    with devices.hold(wanted("c", memory_mb=40)):
        assert (oldest.closed, newer.closed) == (1, 0)


def test_what_does_not_fit_is_refused_for_the_moment(devices: Devices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_mb", lambda _: 10.0)
    with pytest.raises(RetryLater, match="10") as refused, devices.hold(wanted(memory_mb=50)):
        pass
    assert refused.value.code == "devices.no_memory"
    assert Thing.made == 0


def _hold_in_another(folder: Path, ready: object, go: object) -> None:
    other = Devices(folder)
    with other.hold(Wanted("other", "1", "cpu", Thing)):
        ready.set()  # type: ignore[attr-defined]
        go.wait(20)  # type: ignore[attr-defined]
    until(lambda: not other.names())  # asked to go by the first process


def test_processes_take_turns_and_make_room_for_each_other(devices: Devices, monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    process = context.Process(target=_hold_in_another, args=(devices._folder, ready, go))
    process.start()
    assert ready.wait(30)
    with pytest.raises(RetryLater), devices.hold(wanted(patience_s=0.0)):
        pass
    go.set()
    monkeypatch.setattr(module, "free_mb", lambda _: 5.0 if list(devices._folder.glob("cpu.*.other")) else 500.0)
    with devices.hold(wanted(memory_mb=50)):
        assert not list(devices._folder.glob("cpu.*.other"))
    process.join(120)
    assert process.exitcode == 0


def _die_holding(folder: Path) -> None:
    with Devices(folder).hold(Wanted("dead", "1", "cpu", Thing)):
        os._exit(9)


def test_a_process_that_dies_gives_its_turn_back(devices: Devices, monkeypatch: pytest.MonkeyPatch) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_die_holding, args=(devices._folder,))
    process.start()
    process.join(120)
    assert process.exitcode == 9
    monkeypatch.setattr(module, "free_mb", lambda _: 5.0 if list(devices._folder.glob("cpu.*.dead")) else 500.0)
    with devices.hold(wanted(memory_mb=50, patience_s=5)):
        assert not list(devices._folder.glob("cpu.*.dead"))


def test_the_processor_has_memory_left() -> None:
    assert 0 < free_mb("cpu") < 10**9
