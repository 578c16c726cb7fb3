"""A workspace with drawn films whose truth is known, written straight into its library, and a console serving it."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from media_factory import Film, draw_film, pictures

from malan.core import Asset, Clip, Finding, Span, Terms
from malan.media.index import PacketIndex, build_index
from malan.media.probe import probe
from malan.media.thumbs import encode_jpeg
from malan.services.footage.owners import remember_owner, remember_terms
from malan.store.rows import AssetRow, Location, ScanRows
from malan.web.app import create_app
from malan.web.server import listen, make_server
from malan.workspace import Workspace

LENGTHS = (30, 25, 35, 45)
SIZE = (640, 360)
CAPTIONS = ("城市夜景航拍", "云海之上 the sea of clouds", "三年前的那个夏天", "再见")


@dataclass(frozen=True)
class Shown:
    """A film in the library, and the ids it has there."""

    film: Film
    asset_id: str
    clips: tuple[Clip, ...]
    index: PacketIndex


def register(
    ws: Workspace, film: Film, *, owner: str, uses: tuple[str, ...], lengths: tuple[int, ...] = LENGTHS
) -> Shown:
    """Put a drawn film into the library: shots, captions, loudness, pictures."""
    found = probe(film.path)
    digest = hashlib.sha256(film.path.read_bytes()).hexdigest()
    owner_id = remember_owner(ws, owner)
    terms_id = remember_terms(ws, Terms(owner_id, f"{owner} 2026", uses))
    stat = film.path.stat()
    index = build_index(film.path)
    asset = Asset(digest, stat.st_size, found.container, found.duration, found.tracks, owner_id, terms_id)
    place = Location(str(film.path), stat.st_size, stat.st_mtime_ns, digest, seen_s=time.time())
    ws.library.put_assets(
        [AssetRow(asset, added_s=time.time(), locations=(place,))], indexes={digest: index.to_bytes()}
    )
    clips = _clips(digest, index, lengths)
    stills = list(pictures(lengths, (160, 90), 7))
    firsts = np.cumsum((0, *lengths[:-1]))
    ws.library.put_scan(
        ScanRows(
            digest,
            {"shots": "1", "captions": "1", "motion.class": "1", "colour.dominant": "1", "audio.loudness": "1"},
            clips,
            tuple(_findings(digest, index, clips)),
            thumbnails={c.id: encode_jpeg(stills[f + 5]) for c, f in zip(clips, firsts, strict=True)},
            filmstrips={
                c.id: encode_jpeg(np.concatenate([stills[f + n] for n in (2, 8, 14, 20)], axis=1))
                for c, f in zip(clips, firsts, strict=True)
            },
            descriptors={c.id: np.eye(8, dtype=np.float32)[n] for n, c in enumerate(clips)},
        )
    )
    return Shown(film, digest, clips, index)


def _clips(asset_id: str, index: PacketIndex, lengths: tuple[int, ...]) -> tuple[Clip, ...]:
    edges = [0, *np.cumsum(lengths).tolist()]
    return tuple(Clip(asset_id, 0, index.span(a, b)) for a, b in pairwise(edges))


def _findings(asset_id: str, index: PacketIndex, clips: tuple[Clip, ...]) -> Iterator[Finding]:
    motions = ("pan", "static", "handheld", "zoom")
    kinds = ("start", "cut", "dissolve", "fade")
    colours = ("blue", "green", "red", "grey")
    for n, clip in enumerate(clips):
        first = index.frame_at(clip.span.start)
        value = {"type": kinds[n], "first_frame": first, "last_frame": first + (8 if n > 1 else 0)}
        yield Finding(clip, "shot.transition", "shots", "1", value, 0.97 - 0.1 * n)
        yield Finding(clip, "motion.class", "motion.class", "1", {"class": motions[n], "magnitude": 0.1 * n}, 0.8)
        shade = [{"name": colours[n], "hex": "#3355aa", "share": 0.6}]
        yield Finding(clip, "colour.dominant", "colour.dominant", "1", {"colours": shade}, 0.6)
        lines = Clip(asset_id, 0, index.span(first + 4, first + 20))
        yield Finding(lines, "text.caption", "captions", "1", {"text": CAPTIONS[n]}, 0.93)
    whole = Clip(asset_id, 0, index.span(0, index.frame_count))
    wave = [round(-24 + 10 * float(np.sin(k / 4)), 1) for k in range(54)]
    curve = {"integrated_lufs": -23.1, "curve_start_s": 0.0, "curve_step_s": 0.1, "curve_lufs": wave}
    yield Finding(whole, "audio.loudness", "audio.loudness", "1", curve, 1.0)
    spoken = Clip(asset_id, 0, Span(round(1 / index.timebase), round(3 / index.timebase), index.timebase))
    yield Finding(spoken, "speech.segment", "speech.segment", "1", {"probability": 0.94}, 0.94)


@dataclass(frozen=True)
class Stage:
    """A workspace with two films: `city` may be trained on and exported, `alps` may only be looked at."""

    ws: Workspace
    city: Shown
    alps: Shown


def make_workspace(folder: Path) -> tuple[Workspace, Shown, Shown]:
    """Two owners' films: one that may be trained on, one that may only be found."""
    ws = Workspace.create(folder / "workspace")
    first = draw_film(folder / "城市 夜景 #1.mp4", LENGTHS, size=SIZE, audio=True)
    second = draw_film(folder / "mountains.mp4", LENGTHS, size=SIZE, rate=Fraction(24000, 1001), seed=40)
    return (
        ws,
        register(ws, first, owner="湖南台", uses=("retrieve", "derive", "export", "train")),
        register(ws, second, owner="Alps Archive", uses=("retrieve",)),
    )


@contextmanager
def serving(ws: Workspace) -> Iterator[str]:
    """The address of a console that runs for as long as the block."""
    listening = listen("127.0.0.1", 0)
    server = make_server(create_app(ws))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
