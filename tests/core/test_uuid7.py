"""Ids sort by the time they were made."""

import re
import time
import uuid

from malan.core.uuid7 import uuid7


def test_ids_rise_strictly_within_one_process():
    made = [uuid7() for _ in range(5000)]
    assert made == sorted(made)
    assert len(set(made)) == 5000


def test_an_id_is_a_uuid_of_version_7_and_tells_its_time():
    made = uuid.UUID(uuid7())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert abs((made.int >> 80) / 1000 - time.time()) < 60


def test_a_clock_set_back_does_not_turn_the_order():
    later = uuid7()
    assert uuid7(now_ns=0) > later
    assert re.fullmatch(r"[0-9a-f-]{36}", later)
