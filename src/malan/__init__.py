"""Malan (马栏): from an owner's footage to traced, paid-for use of it.

Start reading at `malan.core.records` (the ten nouns), then `malan.workspace` (how the parts are wired).
"""

__version__ = "0.1.0"
