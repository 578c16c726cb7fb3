"""Snapshots: a choice of clips, frozen under one root, split without leaks, exported in the layouts others read.

Start reading at `manifest.py`.
"""

from malan.datasets.exporters import EXPORTERS, Exporter, Item, View
from malan.datasets.manifest import Entry, Manifest
from malan.datasets.split import split_assets

__all__ = ["EXPORTERS", "Entry", "Exporter", "Item", "Manifest", "View", "split_assets"]
