"""Killed at random moments of appending and publishing: no acknowledged entry is ever lost, the log always opens.

A child appends numbered entries and says through a pipe, after each call has returned, how many are acknowledged. It is
killed with SIGKILL after a random number of these. Two hundred kills in a row hit the same log.
"""

from __future__ import annotations

from pathlib import Path

from drills import in_fresh_python


def test_two_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    in_fresh_python("kill_again_and_again", tmp_path / "log")


def test_processes_write_to_one_log_in_turn(tmp_path: Path) -> None:
    in_fresh_python("write_in_turn", tmp_path / "log")


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    in_fresh_python("fill_the_disk", tmp_path / "log")
