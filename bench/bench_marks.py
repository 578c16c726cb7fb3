"""Signing a film of 100 MB and burning the explicit label into a film of a minute.

Peers and limits of the same run: signing against a copy of the file plus one SHA-256 of it, for no signature over all
bytes can do with less; burning only the opening against one ffmpeg process that encodes the film as a whole with its
overlay filter (the usual way), and against a copy. Presence is what `asset add` asks of each file.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
from common import Cost, Report, arguments, measure, median_cost, peak_rss_mb

from malan.media.credentials import Credential, SourceType, has_credential, new_chain, read_credential, sign_media
from malan.media.explicit import burn_label, overlay_for

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
ASKED = 200


def main() -> None:
    options = arguments(__doc__ or "")
    report = Report("Marks: credential and explicit label")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench_credential(report, folder, options.quick, options.runs)
        bench_burning(report, folder, options.quick, options.runs)
    report.notes.append(f"Peak memory {peak_rss_mb():.0f} MB; the library hashes in two buffers of 256 MB.")
    report.show()
    if options.json:
        report.save(options.json)


def bench_credential(report: Report, folder: Path, quick: bool, runs: int) -> None:
    film, signed = folder / "film.mp4", folder / "signed.mp4"
    draw(film, 2 if quick else 100, "8M")
    size_mb = film.stat().st_size / 1e6
    chain, credential = new_chain("Bench"), Credential("film", "Bench", SourceType.AI_GENERATED)
    limit, _ = median_cost(lambda: (shutil.copyfile(film, folder / "copy.mp4"), sha256(film)), runs)
    ours, _ = median_cost(lambda: sign_media(film, signed, chain, credential), runs)
    report.add(f"sign {size_mb:.0f} MB and read back", told(ours), limit=f"copy and one SHA-256: {told(limit)}")
    anchors = (chain.root_pem,)
    ours, found = median_cost(lambda: read_credential(signed, anchors), runs)
    limit, _ = median_cost(lambda: sha256(signed), runs)
    report.add(
        f"verify {size_mb:.0f} MB", told(ours), limit=f"one SHA-256: {told(limit)}", must="trusted",
        met=found.state == "trusted",
    )  # fmt: skip
    ours, _ = measure(lambda: [has_credential(film) for _ in range(ASKED)])
    report.add("is there a credential?", f"{ours.cpu_s / ASKED * 1e6:.0f} µs CPU a file")


def bench_burning(report: Report, folder: Path, quick: bool, runs: int) -> None:
    film, out, png = folder / "minute.mp4", folder / "burned.mp4", folder / "label.png"
    seconds = 8 if quick else 60
    draw(film, seconds, "3M")
    label = overlay_for(640, 360, seconds=Fraction(3))
    png.write_bytes(label.png)
    ours, done = median_cost(lambda: burn_label(film, out), runs)
    graph = ["-filter_complex", f"[0:v][1:v]{label.filter()}", "-preset", "veryfast", "-crf", "18", "-c:a", "copy"]
    peer, _ = median_cost(lambda: run("-i", film, "-i", png, *graph, folder / "peer.mp4"), runs)
    limit, _ = median_cost(lambda: shutil.copyfile(film, folder / "copy.mp4"), runs)
    report.add(
        f"explicit label in a film of {seconds} s",
        f"{told(ours)}; {done.frames_encoded} of {25 * seconds} frames encoded, read back",
        peer=f"ffmpeg overlay, whole film: {told(peer)}",
        limit=f"copy: {told(limit)}",
        must="only the opening encoded",
        met=done.mode == "smart",
    )


def draw(path: Path, seconds: int, rate: str) -> None:
    """A drawn film of noise over a test picture, a key frame every two seconds."""
    source = f"testsrc2=s=640x360:r=25:d={seconds},noise=alls=40:allf=t"
    picture = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-b:v", rate, "-maxrate", rate, "-bufsize", rate]
    run("-f", "lavfi", "-i", source, "-f", "lavfi", "-i", f"sine=d={seconds}", *picture, "-pix_fmt", "yuv420p", path)


def run(*options: str | Path) -> None:
    subprocess.run([FFMPEG, "-v", "error", "-y", *options], check=True)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def told(cost: Cost) -> str:
    return f"{cost.wall_s:.3f} s, {cost.cpu_s:.3f} s CPU"


if __name__ == "__main__":
    main()
