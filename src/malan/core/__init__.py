"""The words everyone uses: ids, exact time, records, errors, decisions. Standard library only.

Start reading at `records.py`.
"""

from malan.core.decisions import Decision, Reason
from malan.core.errors import MalanError
from malan.core.records import (
    Asset,
    Clip,
    Event,
    Finding,
    Grant,
    Job,
    Model,
    Output,
    Snapshot,
    Terms,
    Track,
)
from malan.core.time import Span

__all__ = [
    "Asset",
    "Clip",
    "Decision",
    "Event",
    "Finding",
    "Grant",
    "Job",
    "MalanError",
    "Model",
    "Output",
    "Reason",
    "Snapshot",
    "Span",
    "Terms",
    "Track",
]
