"""Exporters: a frozen snapshot in a layout that others read.

A new one is a file here, a line in `EXPORTERS`, a test. An exporter gets items and a way to cut; it never sees rights,
the library or the ledger. Start reading at `Exporter`.
"""

from malan.datasets.exporters.base import Exporter, Item, View
from malan.datasets.exporters.folder import VideoFolder
from malan.datasets.exporters.lance_table import LanceTable
from malan.datasets.exporters.music_trainers import AceStep, MusicGen
from malan.datasets.exporters.text_trainers import LlamaFactory
from malan.datasets.exporters.timeline import CmxEdl, Otio
from malan.datasets.exporters.video_trainers import Cosmos, DiffSynth, Diffusers, Musubi
from malan.datasets.exporters.webdataset import WebDataset

EXPORTERS: tuple[type[Exporter], ...] = (
    WebDataset,
    VideoFolder,
    LanceTable,
    Otio,
    CmxEdl,
    Diffusers,
    DiffSynth,
    Musubi,
    Cosmos,
    AceStep,
    LlamaFactory,
    MusicGen,
)

__all__ = ["EXPORTERS", "CmxEdl", "Exporter", "Item", "LanceTable", "Otio", "VideoFolder", "View", "WebDataset"]
