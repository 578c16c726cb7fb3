"""Files of ONNX models: looked through as if written by an enemy, before any runtime opens them.

    check_onnx(path) ─ whole? known operators only? no data from elsewhere? ─▶ open_session(path) ─▶ run

The format is protobuf; only the fields that decide these questions are walked, over a mapping of the file, so weights
are never copied. What is accepted runs nothing but operators that ONNX Runtime itself carries, and reads no file but
those of its own folder. What is not covered: a runtime's own defects, and models that take long or much memory; those
are bounded by whoever runs them. Field numbers are those of onnx.proto3. Start reading at `check_onnx`.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, NoReturn

from malan.core.errors import MissingExtra, NotFound, Rejected

FILE_BYTES = 2**31 - 1  # protobuf ends there
MOST_NODES, DEEPEST = 200_000, 12
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})
"""Sets of operators that are part of ONNX Runtime."""

_MODEL_IR, _MODEL_GRAPH, _MODEL_OPSETS, _MODEL_METADATA, _MODEL_FUNCTIONS = 1, 7, 8, 14, 25
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_SPARSE, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 15, 11, 12
_NODE_OP, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
_MOST_FACTS, _LONGEST_FACT = 200, 2**20


@dataclass
class OnnxFacts:
    """What a file says of itself: operators used, names of inputs and outputs, its metadata, files beside it."""

    nodes: int = 0
    operators: set[str] = field(default_factory=set)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    beside: set[str] = field(default_factory=set)


def check_onnx(path: Path, *, root: Path | None = None) -> OnnxFacts:
    """Look through a model.

    Args:
        path: The file.
        root: The folder its external data must lie in; that of the file unless said otherwise.

    Raises:
        NotFound: There is no such file.
        Rejected: It is no ONNX model, is cut short, has operators of others, or reads what lies elsewhere.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise NotFound("onnx.no_file", path=path.name) from error
    if not 0 < size <= FILE_BYTES:
        raise Rejected("onnx.size", path=path.name, size=size, most=FILE_BYTES)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        walk = _Walk(path, memoryview(data), root or path.parent)
        try:
            walk.model()
        finally:
            walk.data.release()
    return walk.facts


def open_session(path: Path, *, threads: int = 0, device: str = "cpu") -> Any:
    """An ONNX Runtime session of a model that was looked through.

    Args:
        path: The file.
        threads: Inside one run; 0: as many as there are cores.
        device: `cpu`, or `cuda:0` where a runtime for it is installed.

    Raises:
        NotFound: There is no such file.
        Rejected: See `check_onnx`; or the runtime does not accept it.
        MissingExtra: The runtime cannot use the device.
    """
    import onnxruntime

    check_onnx(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(os.fspath(path), options, providers=_providers(device))
    except MissingExtra:
        raise
    except Exception as error:  # onnxruntime's errors share no class but Exception
        raise Rejected("onnx.refused", path=path.name, detail=_first_line(error)) from error


def run_session(session: Any, outputs: list[str] | None, inputs: dict[str, Any]) -> list[Any]:
    """Run a session.

    Raises:
        Rejected: The model does not fit what it is given.
    """
    try:
        return list(session.run(outputs, inputs))
    except Exception as error:  # onnxruntime's errors share no class but Exception
        raise Rejected("onnx.failed", detail=_first_line(error)) from error


def _providers(device: str) -> list[Any]:
    import onnxruntime

    name, _, number = device.partition(":")
    if name != "cuda":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise MissingExtra("onnx.no_device", device=device)
    return [("CUDAExecutionProvider", {"device_id": int(number) if number.isdecimal() else 0}), "CPUExecutionProvider"]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]


class _Field(NamedTuple):
    """One field of a message: a number, or where its bytes lie."""

    number: int
    value: int
    start: int
    end: int
    is_bytes: bool


class _Walk:
    """One file under the eyes of the check."""

    def __init__(self, path: Path, data: memoryview, root: Path) -> None:
        self.path, self.data, self.root = path, data, root
        self.facts = OnnxFacts()

    def model(self) -> None:
        graphs, ir_version = 0, 0
        for one in self._fields(0, len(self.data)):
            if one.number == _MODEL_GRAPH and one.is_bytes:
                graphs += 1
                self._graph(one, 0)
            elif one.number == _MODEL_IR:
                ir_version = one.value
            elif one.number == _MODEL_FUNCTIONS:
                self._refuse("onnx.operator", operator="function")
            elif one.number == _MODEL_METADATA and one.is_bytes:
                self._fact(one)
        if graphs != 1 or not 1 <= ir_version <= 100 or not self.facts.nodes:
            self._refuse("onnx.not_onnx")

    def _graph(self, at: _Field, depth: int) -> None:
        if depth > DEEPEST:
            self._refuse("onnx.too_deep", most=DEEPEST)
        for one in self._fields(at.start, at.end):
            if not one.is_bytes:
                continue
            if one.number == _GRAPH_NODE:
                self._node(one, depth)
            elif one.number == _GRAPH_TENSOR:
                self._tensor(one)
            elif one.number == _GRAPH_SPARSE:
                for inner in self._fields(one.start, one.end):
                    if inner.number in (1, 2) and inner.is_bytes:
                        self._tensor(inner)
            elif depth == 0 and one.number in (_GRAPH_INPUT, _GRAPH_OUTPUT):
                names = self.facts.inputs if one.number == _GRAPH_INPUT else self.facts.outputs
                names.append(self._named(one, 1))

    def _node(self, at: _Field, depth: int) -> None:
        self.facts.nodes += 1
        if self.facts.nodes > MOST_NODES:
            self._refuse("onnx.too_many", most=MOST_NODES)
        kind = domain = ""
        for one in self._fields(at.start, at.end):
            if one.number == _NODE_OP and one.is_bytes:
                kind = self._text(one)
            elif one.number == _NODE_DOMAIN and one.is_bytes:
                domain = self._text(one)
            elif one.number == _NODE_ATTRIBUTE and one.is_bytes:
                self._attribute(one, depth)
        if domain not in DOMAINS:
            self._refuse("onnx.operator", operator=f"{domain}.{kind}"[:80])
        self.facts.operators.add(f"{domain}.{kind}" if domain else kind)

    def _attribute(self, at: _Field, depth: int) -> None:
        for one in self._fields(at.start, at.end):
            if one.number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS) and one.is_bytes:
                self._graph(one, depth + 1)
            elif one.number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS) and one.is_bytes:
                self._tensor(one)

    def _tensor(self, at: _Field) -> None:
        """Numbers of a file beside the model must be in a plain file of the same folder."""
        for one in self._fields(at.start, at.end):
            if one.number == _TENSOR_EXTERNAL and one.is_bytes and self._named(one, 1) == "location":
                self._beside(self._named(one, 2))

    def _beside(self, name: str) -> None:
        plain = PurePosixPath(name)
        if not name or plain.is_absolute() or ".." in plain.parts or "\\" in name or not name.isprintable():
            self._refuse("onnx.elsewhere", name=name[:80])
        if name in self.facts.beside:
            return
        place = self.path.parent / name
        if not self._is_inside(place.resolve()):
            self._refuse("onnx.elsewhere", name=name[:80])
        if not place.is_file():
            self._refuse("onnx.missing_data", name=name[:80])
        self.facts.beside.add(name)

    def _is_inside(self, target: Path) -> bool:
        """In the folder itself, or in the store of blobs that a hub's cache links to."""
        root = self.root.resolve()
        shelf = next((one.parent / "blobs" for one in (root, *root.parents) if one.name == "snapshots"), root)
        return target.is_relative_to(root) or target.is_relative_to(shelf)

    def _fact(self, at: _Field) -> None:
        if len(self.facts.metadata) < _MOST_FACTS and at.end - at.start <= _LONGEST_FACT:
            self.facts.metadata[self._named(at, 1)] = self._named(at, 2)

    def _named(self, at: _Field, number: int) -> str:
        return next((self._text(one) for one in self._fields(at.start, at.end) if one.number == number), "")

    def _text(self, at: _Field) -> str:
        return bytes(self.data[at.start : at.end]).decode("utf-8", "replace") if at.is_bytes else ""

    def _fields(self, at: int, end: int) -> Iterator[_Field]:
        """The fields of a message, in the order they lie there."""
        while at < end:
            key, at = self._varint(at, end)
            number, wire = key >> 3, key & 7
            read = _WIRE.get(wire)
            if read is None or number == 0:
                self._refuse("onnx.not_onnx")
            found = read(self, number, at, end)
            at = found.end
            yield found

    def _number(self, number: int, at: int, end: int) -> _Field:
        value, after = self._varint(at, end)
        return _Field(number, value, at, after, False)

    def _bytes(self, number: int, at: int, end: int) -> _Field:
        length, start = self._varint(at, end)
        if length > end - start:
            self._refuse("onnx.truncated")
        return _Field(number, 0, start, start + length, True)

    def _fixed(self, number: int, at: int, end: int, width: int) -> _Field:
        if width > end - at:
            self._refuse("onnx.truncated")
        return _Field(number, 0, at, at + width, False)

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """Seven bits a byte, the lowest first; ten bytes at most (protobuf wire format)."""
        value = 0
        for place in range(at, min(end, at + 10)):
            byte = self.data[place]
            value |= (byte & 0x7F) << 7 * (place - at)
            if byte < 0x80:
                return value, place + 1
        return self._refuse("onnx.truncated" if end - at < 10 else "onnx.not_onnx")

    def _refuse(self, code: str, **values: Any) -> NoReturn:
        raise Rejected(code, path=self.path.name, **values)


_WIRE: dict[int, Callable[[_Walk, int, int, int], _Field]] = {
    0: _Walk._number,
    1: lambda walk, number, at, end: walk._fixed(number, at, end, 8),
    2: _Walk._bytes,
    5: lambda walk, number, at, end: walk._fixed(number, at, end, 4),
}
