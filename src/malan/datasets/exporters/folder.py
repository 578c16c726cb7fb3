"""A folder of videos with `metadata.csv`, as Hugging Face `videofolder` and most trainers read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from malan.datasets.exporters.base import Exporter, Step, View, csv_text

COLUMNS = ("file_name", "text", "title", "labels", "start_s", "end_s", "clip", "asset", "owner", "terms", "attribution")


class VideoFolder(Exporter):
    """`train/KEY.mp4` and `train/metadata.csv` for every split."""

    name = "videofolder"

    def write(self, view: View, out: Path, step: Step) -> None:
        done = 0
        for split in view.splits:
            folder, rows = out / split, []
            folder.mkdir()
            for item in (item for item in view.items if item.split == split):
                file_name = f"{item.name}{item.suffix}"
                view.cut(item, folder / file_name)
                facts = item.facts() | {"file_name": file_name, "text": item.caption, "labels": " ".join(item.labels)}
                rows.append([facts[column] for column in COLUMNS])
                done += 1
                step(done, len(view.items), item.title)
            (folder / "metadata.csv").write_text(csv_text(COLUMNS, rows), "utf-8")

    def resources(self, view: View) -> list[dict[str, Any]]:
        found = []
        for split in view.splits:
            found.append(
                {
                    "@type": "cr:FileSet",
                    "@id": f"videos-{split}",
                    "name": f"videos-{split}",
                    "encodingFormat": "video/mp4",
                    "includes": f"{split}/*.mp4",
                }
            )
            found.append(
                {
                    "@type": "cr:FileSet",
                    "@id": f"metadata-{split}",
                    "name": f"metadata-{split}",
                    "encodingFormat": "text/csv",
                    "includes": f"{split}/metadata.csv",
                }
            )
        return found
