"""What the whole first scan without captions costs, beside decoding the same file and throwing the frames away.

    python bench/bench_scan.py [--quick] [--json OUT] [--runs N]

The film is real footage brought to 1080p (drawn scenes where that is not on the machine), encoded two ways: with the
encoder's scene cuts as key frames, and with a fixed group of pictures. Each figure is the median of runs in fresh
processes of their own, the way workers scan; CPU counts all threads.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import imageio_ffmpeg
from common import Report, arguments, footage_folder

ENCODINGS = {
    "scene-cut key frames": ["-g", "250"],
    "fixed GOP of 48": ["-g", "48", "-keyint_min", "48", "-sc_threshold", "0"],
}
RSS_MUST_MB = 1536


def main() -> None:
    options = arguments(__doc__ or "")
    report = Report("First scan without captions, 1080p")
    with tempfile.TemporaryDirectory(prefix="malan-bench-") as folder:
        for name, arguments_ in list(ENCODINGS.items())[: 1 if options.quick else None]:
            film = make_film(Path(folder), arguments_, seconds=4 if options.quick else 144)
            compare(report, name, film, runs=1 if options.quick else options.runs, quick=options.quick)
    report.show()
    if options.json:
        report.save(options.json)


def make_film(folder: Path, encoding: list[str], seconds: int) -> Path:
    """A 1080p film with sound, from real footage where there is some."""
    footage = footage_folder()
    film = folder / f"film{len(list(folder.iterdir()))}.mp4"
    source = (
        ["-t", str(seconds), "-i", str(footage / "video" / "bbb_1a_486p.mp4"), "-vf", "scale=1920:1080:flags=lanczos"]
        if footage
        else drawn(seconds)
    )
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *source]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "21", *encoding, "-pix_fmt", "yuv420p"]
    subprocess.run([*command, "-c:a", "aac", str(film)], check=True)
    return film


def drawn(seconds: int) -> list[str]:
    """Scenes drawn by ffmpeg, one every four seconds, and a tone."""
    count = max(1, seconds // 4)
    scenes = [f"mandelbrot=s=1920x1080:r=24:start_scale={0.3 / (1 + n)}" for n in range(count)]
    inputs = [word for scene in scenes for word in ("-f", "lavfi", "-t", "4", "-i", scene)]
    joined = "".join(f"[{n}:v]" for n in range(count)) + f"concat=n={count}:v=1:a=0[v]"
    tone = ["-f", "lavfi", "-t", str(4 * count), "-i", "sine=f=440:r=48000"]
    return [*inputs, *tone, "-filter_complex", joined, "-map", "[v]", "-map", f"{count}:a"]


def compare(report: Report, name: str, film: Path, *, runs: int, quick: bool) -> None:
    """Decode and scan in turn, so that a busy machine burdens both alike."""
    measured: dict[str, list[dict[str, Any]]] = {"decode": [], "scan": []}
    for _ in range(runs):
        for what, results in measured.items():
            results.append(in_own_process(what, film))
    decode, scan = (median(r["cpu_s"] for r in measured[what]) for what in ("decode", "scan"))
    ratio = median(s["cpu_s"] / d["cpu_s"] for s, d in zip(measured["scan"], measured["decode"], strict=True))
    wall = {what: median(r["wall_s"] for r in results) for what, results in measured.items()}
    last = measured["scan"][-1]
    report.add(
        f"{name}: CPU of the scan",
        f"{scan:.2f} s ({ratio:.2f} × decode), wall {wall['scan']:.2f} s",
        limit=f"decode and discard {decode:.2f} s, wall {wall['decode']:.2f} s",
        must="≤ 1.0 × (aim 0.5)",
        met=None if quick else ratio <= 1.0,
    )
    report.add(
        f"{name}: frames decoded",
        f"{last['frames_decoded']} of {last['frames']} ({last['frames_decoded'] / last['frames']:.0%})",
        limit=f"strategy {last['strategy']}, {last['clips']} clips",
    )
    rss = max(r["rss_mb"] for r in measured["scan"])
    report.add(f"{name}: peak memory", f"{rss:.0f} MB", must=f"≤ {RSS_MUST_MB} MB", met=rss <= RSS_MUST_MB)
    shares = ", ".join(f"{part} {cpu_s / decode:.3f}" for part, cpu_s in last["parts"].items())
    report.notes.append(f"{name}: shares of decode-and-discard: {shares}")


def in_own_process(what: str, film: Path) -> dict[str, Any]:
    """Run one side in a fresh interpreter; start-up and imports are not counted."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, __file__, f"--side={what}", str(film)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | threads,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def side(what: str, film: Path) -> None:
    started, cpu = time.perf_counter(), time.process_time()
    found = decode_and_discard(film) if what == "decode" else scan(film)
    found |= {"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    found["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


def decode_and_discard(film: Path) -> dict[str, Any]:
    """Every frame of the picture track on one thread, which burns least CPU; the sound is not even decoded."""
    import av

    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return {"frames": sum(1 for _ in container.decode(stream))}


def scan(film: Path) -> dict[str, Any]:
    """Index, shots, sound and all operators."""
    from malan.curation.scan import scan_file
    from malan.media.index import build_index
    from malan.media.probe import probe

    result = scan_file(film, "0" * 64, probe(film), build_index(film))
    shots = result.shots
    assert shots is not None
    return {
        "frames": shots.frames,
        "frames_decoded": shots.frames_decoded + result.costs["decode"].frames_decoded,
        "strategy": shots.strategy,
        "clips": len(result.clips),
        "parts": {name: round(cost.cpu_s, 4) for name, cost in result.costs.items()},
    }


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1].startswith("--side="):
        side(sys.argv[1].removeprefix("--side="), Path(sys.argv[2]))
    else:
        main()
