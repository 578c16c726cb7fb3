"""Where things are kept: the library's tables and the search over them.

Start reading at `library.py`.
"""

from malan.store.evidence import Evidence
from malan.store.library import Library
from malan.store.query import ClipHit, ClipPage, ClipQuery
from malan.store.rows import AssetRow, ClipRow, Extra, Location, ScanRows

__all__ = [
    "AssetRow",
    "ClipHit",
    "ClipPage",
    "ClipQuery",
    "ClipRow",
    "Evidence",
    "Extra",
    "Library",
    "Location",
    "ScanRows",
]
