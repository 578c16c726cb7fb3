"""Writing a label into a film of 100 MB: `malan.media.labels` against a remux by ffmpeg, and a plain copy of the file.

Three films: the header last (as most muxers leave it), first with spare room behind it, first without room. A copy of
ours is compared byte by byte with its source and read back by libavformat within the time that is measured; ffmpeg's is
not. Bytes of ours: what Malan writes itself; all others the system copies. In place: a file that is ours already.
Verifying and the glance at `asset add` are measured on the same films.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import imageio_ffmpeg
from common import Cost, Report, arguments, measure, median_cost

from malan.media.labels import Label, glance, label_in_place, verify, write_label

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
LABEL = Label.first("001191440300708461136T1XGW3", "0192f0c1-bench")
GLANCES = 200


def films(folder: Path, quick: bool) -> dict[str, Path]:
    """One drawn film of about 100 MB (2 in a smoke), its header at three places."""
    seconds, last = 2 if quick else 100, folder / "last.mp4"
    source = f"nullsrc=s=640x360:r=25:d={seconds},geq=random(1)*255:128:128"
    encode = ["-c:v", "libx264", "-preset", "ultrafast", "-b:v", "8M", "-maxrate", "8M", "-bufsize", "8M"]
    sound = ["-f", "lavfi", "-i", f"sine=d={seconds}", "-c:a", "aac"]
    run("-f", "lavfi", "-i", source, *sound, *encode, str(last))
    full, room = folder / "first.mp4", folder / "room.mp4"
    run("-i", str(last), "-c", "copy", "-movflags", "+faststart", str(full))
    first = write_label(full, folder / "spare.mp4", LABEL)  # leaves room behind the header it had to move
    shutil.move(first.path, room)
    return {"header last": last, "header first, room behind it": room, "header first, no room": full}


def run(*options: str) -> None:
    subprocess.run([FFMPEG, "-v", "error", "-y", *options], check=True)


def remux(path: Path, out: Path, *more: str) -> None:
    """What is done by hand today."""
    run("-i", str(path), "-map", "0", "-c", "copy", "-metadata", f"AIGC={LABEL.to_json()}",
        "-movflags", "+".join(["use_metadata_tags", *more]), str(out))  # fmt: skip


def plain_copy(path: Path, out: Path) -> None:
    """The limit: the system copies the file."""
    with path.open("rb") as source, out.open("wb") as target:
        size = done = os.fstat(source.fileno()).st_size
        while done and size:
            done = os.copy_file_range(source.fileno(), target.fileno(), size)
            size -= done


def media_bytes_moved(path: Path, out: Path) -> int:
    """How many bytes of media lie elsewhere than before: all of them or none."""
    places = [file.read_bytes().index(b"mdat") for file in (path, out)]
    return 0 if places[0] == places[1] else path.stat().st_size


def bench_film(report: Report, what: str, path: Path, folder: Path, runs: int) -> None:
    out, theirs = folder / "labelled.mp4", folder / "remuxed.mp4"
    fresh = Label.first(LABEL.content_producer, "0192f0c1-other")
    ours, done = median_cost(lambda: write_label(path, out, fresh), runs)
    first = ["faststart"] if "first" in what else []
    peer, _ = median_cost(lambda: remux(path, theirs, *first), runs)
    copy, _ = median_cost(lambda: plain_copy(path, folder / "copy.mp4"), runs)
    size, moved = path.stat().st_size, media_bytes_moved(path, out)
    has_room = "no room" not in what
    told_peer = f"ffmpeg -c copy: {told(peer)}, not read back, all {size / 1e6:.0f} MB rewritten"
    report.add(
        f"label in {size / 1e6:.0f} MB, {what}",
        f"{told(ours)}; {done.bytes_put:,} bytes of ours, {moved / 1e6:.0f} MB of media moved",
        peer=told_peer,
        limit=f"copy of the file: {told(copy)}",
        must="no media moved" if has_room else "",
        met=verify(out).is_compliant and moved == 0 if has_room else None,
    )
    if has_room:
        mine, _ = median_cost(lambda: label_in_place(out, LABEL), runs)
        report.add(
            f"the same in place, {what}",
            f"{told(mine)}; {done.bytes_put:,} bytes written",
            peer=told_peer,
            limit=f"copy of the file: {told(copy)}",
            must="faster than a copy by ffmpeg",
            met=verify(out).is_compliant and mine.wall_s < peer.wall_s,
        )


def bench_reading(report: Report, path: Path) -> None:
    judged, _ = median_cost(lambda: [verify(path) for _ in range(GLANCES)], 3)
    seen, _ = median_cost(lambda: [glance(path) for _ in range(GLANCES)], 3)
    probed, _ = measure(lambda: probe(path))
    report.add(
        "verify one film",
        f"{judged.wall_s / GLANCES * 1e3:.2f} ms",
        peer=f"ffprobe: {probed.wall_s * 1e3:.0f} ms" if shutil.which("ffprobe") else "ffprobe: not installed",
    )
    per_file = seen.wall_s / GLANCES
    report.add("the glance at `asset add`", f"{per_file * 1e3:.2f} ms", must="< 2 ms a file", met=per_file < 0.002)


def probe(path: Path) -> object:
    if not shutil.which("ffprobe"):
        return None
    command = ["ffprobe", "-v", "quiet", "-show_format", "-of", "json", str(path)]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def told(cost: Cost) -> str:
    return f"{cost.wall_s * 1e3:.0f} ms, CPU {cost.cpu_s * 1e3:.0f} ms"


def main() -> None:
    options = arguments(__doc__ or "")
    report = Report("Labels")
    with tempfile.TemporaryDirectory(prefix="malan-bench-") as name:
        folder = Path(name)
        made = films(folder, options.quick)
        for what, path in made.items():
            bench_film(report, what, path, folder, 1 if options.quick else options.runs)
        bench_reading(report, made["header last"])
    report.show()
    if options.json:
        report.save(options.json)


if __name__ == "__main__":
    main()
