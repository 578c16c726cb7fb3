"""One Lance table: a row a clip, the media as a blob column that loaders read lazily and by range."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from malan.datasets.exporters.base import Exporter, Item, Step, View


class LanceTable(Exporter):
    """`clips.lance` with the facts of each clip and its file in `media`."""

    name = "lance"

    def write(self, view: View, out: Path, step: Step) -> None:
        import lance
        import pyarrow as pa

        schema = pa.schema(
            [
                *(pa.field(name, pa.string()) for name in ("clip", "asset", "fragment", "split", "title", "caption")),
                pa.field("labels", pa.list_(pa.string())),
                pa.field("start_s", pa.float64()),
                pa.field("end_s", pa.float64()),
                *(pa.field(name, pa.string()) for name in ("owner", "terms", "attribution", "suffix")),
                pa.field("media", pa.large_binary(), metadata={"lance-encoding:blob": "true"}),
            ]
        )

        def batches() -> Iterator[Any]:
            for done, item in enumerate(view.items, 1):
                row = item.facts() | {"suffix": item.suffix, "media": _media(view, item, out)}
                yield pa.RecordBatch.from_pylist([row], schema=schema)
                step(done, len(view.items), item.title)

        reader = pa.RecordBatchReader.from_batches(schema, batches())
        lance.write_dataset(reader, str(out / "clips.lance"), mode="create")

    def resources(self, view: View) -> list[dict[str, Any]]:  # noqa: ARG002
        return [
            {
                "@type": "cr:FileSet",
                "@id": "clips-lance",
                "name": "clips-lance",
                "encodingFormat": "application/vnd.lance",
                "includes": "clips.lance/**",
            }
        ]


def _media(view: View, item: Item, out: Path) -> bytes:
    with tempfile.TemporaryDirectory(dir=out) as folder:
        path = Path(folder) / f"{item.name}{item.suffix}"
        view.cut(item, path)
        return path.read_bytes()
