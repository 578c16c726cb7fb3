"""Promos: Malan against a bare ffmpeg graph of the same cuts, against encoding alone, and against MoviePy.

The bare graph only cuts, scales, joins and encodes the same frames with the same encoder settings: it is given the
windows Malan found, because a picture without its black bars is more to encode than one with them. Malan also looks for
those windows, plans, writes titles and captions, mixes and masters the sound, signs, labels and logs. Arms take turns,
round by round; ratios are taken within a round. MoviePy runs with the interpreter named by MALAN_BENCH_PYTHON.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import Report, arguments, footage_folder

MOVIEPY = """
import json, sys, time
from moviepy import VideoFileClip, concatenate_videoclips
said = json.load(sys.stdin)
began = time.perf_counter()
for width, height, out in said["formats"]:
    parts = []
    for shot in said["shots"]:
        clip = VideoFileClip(shot["path"]).subclipped(shot["from_s"], shot["from_s"] + shot["seconds"])
        scale = max(width / clip.w, height / clip.h)
        clip = clip.resized((round(clip.w * scale), round(clip.h * scale)))
        parts.append(clip.cropped(x_center=clip.w / 2, y_center=clip.h / 2, width=width, height=height))
    film = concatenate_videoclips(parts)
    film.write_videofile(out, fps=said["rate"], codec="libx264", preset="veryfast", audio_codec="aac",
                         ffmpeg_params=["-crf", "20"], logger=None, threads=4)
print(time.perf_counter() - began)
"""


def main() -> None:
    options = arguments(__doc__ or "")
    rounds = 1 if options.quick else max(3, options.runs)
    report = Report("Promo: 30 seconds from cleared footage" if not options.quick else "Promo, a smoke")
    with tempfile.TemporaryDirectory(prefix="malan-bench-") as name:
        scene = Scene(Path(name), quick=options.quick)
        one_format(report, scene, rounds)
        three_formats(report, scene, rounds)
        one_shot_changed(report, scene, rounds)
    if not options.quick:
        big_library(report)
    report.notes.append(
        "“Everything” is the whole of `malan app run promo` in this process, shelf empty. The bare graph is one ffmpeg "
        "process a format, with the windows of Malan's framing, without words, sound as it is. Encoding alone reads "
        "the frames of the bare film from memory."
    )
    report.show()
    if options.json:
        report.save(options.json)


class Scene:
    """Footage in a workspace, a storyboard of it, and the edit list the peers follow."""

    def __init__(self, folder: Path, *, quick: bool) -> None:
        from malan.apps.running import run_app

        self.folder, self.quick = folder, quick
        self.lines = 360 if quick else 1080
        self.ws = library_of(folder, quick)
        asked = {"length": 4.0 if quick else 30.0, "lines": self.lines, "title": "马栏", "ending": "马栏"}
        self.asked = {
            **asked,
            "script": "" if quick else "云雾缭绕的山间，兔子醒来了。森林、河流与光。这是一个关于勇气的故事。",
        }
        told = run_app(self.ws, "promo", {**self.asked, "plan_only": True}, folder / "plan")[1]
        self.board = told["board"]
        self.edit = self._edit()
        self.pieces = self._pieces()

    def _pieces(self) -> dict[str, Any]:
        """The shots as Malan frames them, by format."""
        from malan.apps.frame import Work
        from malan.apps.promo.board import Storyboard
        from malan.apps.promo.build import build

        board = Storyboard(**{**self.board, "formats": ("16:9", "9:16", "1:1")})
        timeline = build(board, "", Work(self.folder / "plan", self.ws)).timeline
        return {f"{form.width}x{form.height}": (form, timeline.pieces) for form in timeline.formats}

    def _edit(self) -> list[dict[str, Any]]:
        library = self.ws.library
        found = []
        for shot in self.board["shots"]:
            row = library.clip(shot["clip"])
            asset = library.asset(row.clip.asset_id)
            held = {"path": asset.locations[0].path, "has_sound": asset.asset.first("audio") is not None}
            found.append({**held, "from_s": shot["from_s"], "frames": shot["frames"]})
        return found

    def everything(self, formats: tuple[str, ...], *, board: dict[str, Any] | None = None) -> float:
        """Malan, from the request to files in their place; the shelf is emptied unless a board is given."""
        from malan.apps.running import run_app

        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        asked: dict[str, Any] = {**self.asked, "format": formats}
        if board is None:
            shutil.rmtree(self.ws.root / "cache", ignore_errors=True)
        else:
            place = self.folder / "board.json"
            place.write_text(json.dumps({**board, "formats": formats}), "utf-8")
            asked = {"board": str(place), "script": asked["script"]}
        began = time.perf_counter()
        run_app(self.ws, "promo", asked, out)
        return time.perf_counter() - began

    def bare(self, size: tuple[int, int]) -> float:
        """One ffmpeg process that cuts, scales, joins and encodes."""
        from malan.media.render.graph import framed

        inputs, graph, joined = [], [], ""
        rate, (form, pieces) = self.board["rate"], self.pieces[f"{size[0]}x{size[1]}"]
        for number, (shot, piece) in enumerate(zip(self.edit, pieces, strict=True)):
            seconds = shot["frames"] / rate
            inputs += ["-ss", f"{shot['from_s']:.3f}", "-t", f"{seconds + 1:.3f}", "-i", shot["path"]]
            graph.append(f"[{number}:v]fps={rate},trim=end_frame={shot['frames']},setpts=PTS-STARTPTS[c{number}]")
            graph.append(framed(piece, form, f"c{number}", f"v{number}"))
            heard = f"[{number}:a]aresample=48000,apad" if shot["has_sound"] else "anullsrc=r=48000:cl=stereo"
            graph.append(f"{heard},atrim=0:{seconds:.4f}[a{number}]")
            joined += f"[v{number}][a{number}]"
        graph.append(f"{joined}concat=n={len(self.edit)}:v=1:a=1[v][a]")
        out = self.folder / "bare.mp4"
        arguments = [
            *inputs,
            "-filter_complex",
            ";".join(graph),
            "-map",
            "[v]",
            "-map",
            "[a]",
            *encoder(),
            "-c:a",
            "aac",
        ]
        return timed([*arguments, "-r", str(rate), str(out)])

    def encode_only(self, size: tuple[int, int]) -> float:
        """The frames of the film from memory, encoded."""
        raw = Path("/dev/shm") / f"malan-bench-{os.getpid()}.yuv"
        count, rate = sum(shot["frames"] for shot in self.edit), self.board["rate"]
        held = min(count, 200)
        try:
            source = ["-i", str(self.folder / "bare.mp4"), "-frames:v", str(held), "-f", "rawvideo", str(raw)]
            timed(source)
            shape = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{size[0]}x{size[1]}", "-r", str(rate)]
            looped = ["-stream_loop", "-1", *shape, "-i", str(raw), "-frames:v", str(count)]
            return timed([*looped, *encoder(), "-f", "mp4", str(self.folder / "only.mp4")])
        finally:
            raw.unlink(missing_ok=True)

    def moviepy(self, sizes: list[tuple[int, int]]) -> float | None:
        """The same edit list by MoviePy; None where it is not installed."""
        python = os.environ.get("MALAN_BENCH_PYTHON", sys.executable)
        rate = self.board["rate"]
        shots = [{**shot, "seconds": shot["frames"] / rate} for shot in self.edit]
        formats = [[*size, str(self.folder / f"moviepy{n}.mp4")] for n, size in enumerate(sizes)]
        told = json.dumps({"shots": shots, "formats": formats, "rate": rate})
        done = subprocess.run([python, "-c", MOVIEPY], input=told, capture_output=True, text=True, check=False)
        return float(done.stdout.strip().splitlines()[-1]) if done.returncode == 0 else None


def library_of(folder: Path, quick: bool) -> Any:
    """A scanned workspace whose owner allows promos: real footage at 1080 lines, else films drawn here."""
    from malan.rights import load_terms
    from malan.services.footage.assets import add_assets
    from malan.services.footage.scan import scan_assets
    from malan.workspace import Workspace

    ws = Workspace.create(folder / "ws")
    (folder / "terms.toml").write_text('uses = ["retrieve", "derive", "export", "publish"]\n')
    add_assets(ws, films(folder, quick), owner="湖南台", terms=load_terms(folder / "terms.toml", "湖南台"))
    scan_assets(ws, captions=False)
    return ws


def films(folder: Path, quick: bool) -> list[Path]:
    footage = footage_folder()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    if quick or footage is None:
        from media_factory import draw_film

        size = (320, 180) if quick else (1920, 1080)
        return [
            draw_film(folder / f"{n}.mp4", (60,) * (3 if quick else 30), size=size, seed=n, audio=True).path
            for n in (1, 2)
        ]
    found = []
    for name in ("bbb_1a_486p.mp4", "sintel_trailer_part_854x480.mp4"):
        out = folder / name
        scaled = ["-vf", "scale=1920:1080:force_original_aspect_ratio=increase,crop=1920:1080,setsar=1"]
        encoded = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-g", "50", "-c:a", "aac"]
        timed(["-t", "60", "-i", str(footage / "video" / name), *scaled, *encoded, str(out)])
        found.append(out)
    return found


def encoder() -> list[str]:
    """Malan's settings; threads as they are best for one encoder alone on two processors."""
    from malan.media.render.films import CRF, PRESET

    return ["-c:v", "libx264", "-preset", PRESET, "-crf", str(CRF), "-g", "50", "-threads", "4"]


def timed(arguments: list[str]) -> float:
    from imageio_ffmpeg import get_ffmpeg_exe

    began = time.perf_counter()
    subprocess.run([get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *arguments], check=True)
    return time.perf_counter() - began


def in_turns(rounds: int, *arms: Callable[[], float]) -> list[list[float]]:
    """Seconds of each arm in each round."""
    taken: list[list[float]] = [[] for _ in arms]
    for turn in range(rounds):
        for place in range(len(arms)):
            number = (place + turn) % len(arms)
            taken[number].append(arms[number]())
    return taken


def ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def one_format(report: Report, scene: Scene, rounds: int) -> None:
    size = (640, 360) if scene.quick else (1920, 1080)
    ours, bare = in_turns(rounds, lambda: scene.everything(("16:9",)), lambda: scene.bare(size))
    only = scene.encode_only(size)
    times = ratio(ours, bare)
    report.add(
        f"one format, {size[1]} lines, everything", f"{statistics.median(ours):.1f} s ({times:.2f} × bare graph)",
        peer=f"bare graph {statistics.median(bare):.1f} s", limit=f"encoding alone {only:.1f} s",
        must="≤ 1.25 × (aim 1.1)", met=times <= 1.25,
    )  # fmt: skip


def three_formats(report: Report, scene: Scene, rounds: int) -> None:
    shapes = ("16:9", "9:16", "1:1")
    sizes = [(640, 360), (360, 640), (360, 360)] if scene.quick else [(1920, 1080), (1080, 1920), (1080, 1080)]
    ours, bare = in_turns(rounds, lambda: scene.everything(shapes), lambda: sum(scene.bare(size) for size in sizes))
    times = ratio(ours, bare)
    report.add(
        "three formats, everything", f"{statistics.median(ours):.1f} s ({times:.2f} × three bare graphs)",
        peer=f"three bare graphs {statistics.median(bare):.1f} s", must="≤ 1.0 × (aim 0.85)", met=times <= 1.0,
    )  # fmt: skip
    theirs = scene.moviepy(sizes)
    if theirs is not None:
        faster = theirs / statistics.median(ours)
        report.add(
            "three formats against MoviePy", f"{faster:.1f} × as fast", peer=f"MoviePy {theirs:.1f} s",
            must="≥ 3 × (aim 5)", met=faster >= 3,
        )  # fmt: skip


def all_terms(ws: Any, _use: str, among: Any = None, **_: Any) -> tuple[str, ...]:
    return tuple(ws.library.terms_ids() if among is None else among)


def one_shot_changed(report: Report, scene: Scene, rounds: int) -> None:
    full = scene.everything(("16:9",))
    scene.everything(("16:9",), board=scene.board)
    again = []
    for turn in range(rounds):
        board = json.loads(json.dumps(scene.board))
        board["shots"][1]["from_s"] += 0.04 * (turn + 1)
        again.append(scene.everything(("16:9",), board=board))
    share = statistics.median(again) / full
    report.add(
        "one shot changed, rendered again", f"{statistics.median(again):.1f} s ({share:.0%} of the whole)",
        peer=f"the whole {full:.1f} s", must="≤ 25 %", met=share <= 0.25,
    )  # fmt: skip


def big_library(report: Report) -> None:
    """The storyboard from a hundred thousand clips; rights are decided before and measured elsewhere."""
    from synthetic_library import build

    from malan.apps.frame import Work
    from malan.apps.promo.plan import make_board
    from malan.apps.promo.request import PromoRequest
    from malan.services.clips import picking
    from malan.workspace import Workspace

    with tempfile.TemporaryDirectory(prefix="malan-bench-") as name:
        ws = Workspace.create(Path(name))
        build(Path(name) / "library", 100_000)
        picking.allowed_terms = all_terms
        taken = []
        for query in ("夜景", "航拍 城市", "茶叶", "night city", "桥梁 黄昏"):
            began = time.perf_counter()
            make_board(PromoRequest(query=query, length=30), Work(Path(name), ws))
            taken.append(time.perf_counter() - began)
    worst = max(taken)
    report.add(
        "storyboard from 100,000 clips", f"{statistics.median(taken):.2f} s, longest {worst:.2f} s",
        must="≤ 2 s (aim 0.5)", met=worst <= 2,
    )  # fmt: skip


if __name__ == "__main__":
    main()
