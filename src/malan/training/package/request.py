"""What an algorithm asks for: which data in which form, and the drawn data on which it shows that it works.

Start reading at `Data` and `ask_for_data`. Whether a grant allows it is decided elsewhere; a request is only a wish.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from malan.core.errors import UsageError
from malan.training.package.expressions import is_expression, names_in, whole_number
from malan.training.package.parameters import Value, settle_parameters
from malan.training.package.tables import Table

if TYPE_CHECKING:
    from malan.training.package.package import Package

USES = ("train", "generative_train")
MODALITIES = ("video", "image", "audio", "text", "music")
DELIVERED = ("descriptor", "frames", "audio", "captions", "labels", "owner")
_WINDOW = {"frames": (1, 1024), "size_px": (8, 4096), "every": (1, 1000)}
_SOUND = {"rate_hz": (8_000, 192_000), "seconds": (1, 3600)}
_LABELS = r"\$?\w[\w.-]{0,59}"


@dataclass(frozen=True)
class Data:
    """The wish as written: numbers may still be expressions over parameters, `labels` may be `$parameter`."""

    use: str
    modality: str
    deliver: tuple[str, ...]
    labels: str
    min_clips: int
    window: Mapping[str, Any]
    sound: Mapping[str, Any]


@dataclass(frozen=True)
class Window:
    """Frames of a clip that go together: so many, square of so many pixels, one out of every so many."""

    frames: int
    size_px: int
    every: int


@dataclass(frozen=True)
class Sound:
    """One channel of sound: samples a second, and seconds at once."""

    rate_hz: int
    seconds: int


@dataclass(frozen=True)
class DataRequest:
    """The wish for one run: `labels` is the name of a label set, empty when no labels are asked for."""

    use: str
    modality: str
    deliver: tuple[str, ...]
    labels: str
    min_clips: int
    window: Window | None
    sound: Sound | None


@dataclass(frozen=True)
class Smoke:
    """How a package shows that it works on drawn data: clips, classes, seconds, one figure that is reached."""

    clips: int
    classes: int
    max_seconds: int
    metric: str
    op: str
    value: float
    parameters: Mapping[str, Any]

    def reached(self, figure: float) -> bool:
        return figure >= self.value if self.op == ">=" else figure <= self.value


def ask_for_data(package: Package, parameters: Mapping[str, Any]) -> DataRequest:
    """What a run with these parameters asks for.

    Raises:
        UsageError: A parameter that does not fit, or a label set that is none.
    """
    settled, data = settle_parameters(package.parameters, parameters), package.data
    sizes = {
        table: {key: _within(settled, f"data.{table}.{key}", value, bounds[key]) for key, value in held.items()}
        for table, held, bounds in (("window", data.window, _WINDOW), ("audio", data.sound, _SOUND))
    }
    labels = str(settled.get(data.labels[1:], "")) if data.labels.startswith("$") else data.labels
    if "labels" in data.deliver and not labels:
        raise UsageError("algorithm.no_labels", name=data.labels[1:])
    return DataRequest(
        data.use,
        data.modality,
        data.deliver,
        labels if "labels" in data.deliver else "",
        data.min_clips,
        Window(**sizes["window"]) if sizes["window"] else None,
        Sound(**sizes["audio"]) if sizes["audio"] else None,
    )


def read_data(top: Table) -> Data:
    """`[data]`; what is wrong is noted in the table."""
    table = top.table("data", needed=True)
    if table is None:
        return Data("train", "video", (), "", 1, {}, {})
    found = Data(
        use=_use(table),
        modality=table.choice("modality", MODALITIES, "video"),
        deliver=table.strings("deliver", choices=DELIVERED),
        labels=table.text("labels", "", pattern=f"({_LABELS})?"),
        min_clips=table.whole("min_clips", 1, least=1, most=10_000_000),
        window=_sizes(table, "window", {"frames": None, "size_px": None, "every": 1}),
        sound=_sizes(table, "audio", {"rate_hz": 16_000, "seconds": None}),
    )
    table.done()
    for delivered, key, held in (
        ("labels", "labels", found.labels),
        ("frames", "window", found.window),
        ("audio", "audio", found.sound),
    ):
        if bool(held) != (delivered in found.deliver):
            table.wrong("algorithm.goes_together", key, deliver=delivered)
    if not found.deliver:
        table.wrong("algorithm.missing_key", "deliver")
    return found


def read_smoke(top: Table) -> Smoke | None:
    """`[smoke]`; None where there is none."""
    table = top.table("smoke")
    if table is None:
        return None
    settings = table.table("parameters")
    found = Smoke(
        clips=table.whole("clips", 60, least=2, most=2000),
        classes=table.whole("classes", 3, least=2, most=100),
        max_seconds=table.whole("max_seconds", 60, least=1, most=600),
        metric=table.text("metric", "", pattern="([a-z][a-z0-9_]{0,39})?"),
        op=table.choice("op", (">=", "<="), ">="),
        value=table.number("value", 0.0),
        parameters=dict(settings.values) if settings else {},
    )
    table.done()
    return found


def data_names(data: Data) -> dict[str, set[str]]:
    """Which parameters the wish names, by key."""
    held = {f"data.window.{key}": value for key, value in data.window.items()}
    held |= {f"data.audio.{key}": value for key, value in data.sound.items()}
    return {key: names_in(value) for key, value in held.items() if is_expression(value)}


def _use(table: Table) -> str:
    """`generative-train` and `generative_train` are the same."""
    said = table.values.get("use")
    if isinstance(said, str):
        table.values["use"] = said.replace("-", "_")
    return table.choice("use", USES)


def _sizes(table: Table, name: str, known: Mapping[str, int | None]) -> dict[str, Any]:
    inner = table.table(name)
    if inner is None:
        return {}
    bounds = _WINDOW if name == "window" else _SOUND
    found: dict[str, Any] = {}
    for key, default in known.items():
        if is_expression(inner.values.get(key)):
            found[key] = inner.text(key, most=120)
        else:
            found[key] = inner.whole(key, default, least=bounds[key][0], most=bounds[key][1])
    inner.done()
    return found


def _within(settled: Mapping[str, Value], where: str, value: Any, bounds: tuple[int, int]) -> int:
    found = whole_number(value, settled, where)
    if not bounds[0] <= found <= bounds[1]:
        raise UsageError("algorithm.out_of_range", where=where, value=found, least=bounds[0], most=bounds[1])
    return found
