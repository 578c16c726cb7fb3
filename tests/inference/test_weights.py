"""References to base models: folders, caches of hubs, and a hub of our own on this machine. No network is used."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from malan.core.errors import NotFound, Rejected, RetryLater, UsageError
from malan.inference import weights_fetch
from malan.inference.tensors import Tensor, write_tensors
from malan.inference.weights import Reference, base_modules, resolve_base
from malan.inference.weights_fetch import fetch_base, find_hub

WEIGHTS = write_tensors(
    [
        Tensor.of("blocks.0.attn1.to_q.weight", np.ones((6, 4)), "BF16"),
        Tensor.of("blocks.0.norm.weight", np.ones(6)),
        Tensor.of("proj.weight", np.ones((3, 2, 1, 1))),
    ]
)
FILES = {
    "model_index.json": b'{"_class_name": "WanPipeline"}',
    "transformer/config.json": b"{}",
    "transformer/diffusion_pytorch_model.safetensors": WEIGHTS,
    "LICENSE": b"Apache-2.0",
}


def lay(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


class Hub(BaseHTTPRequestHandler):
    """Answers as the two hubs do, for one model `o/m`; `files` may be exchanged behind its back."""

    files: ClassVar[dict[str, bytes]] = {}
    sent: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []
    ranges: ClassVar[list[int]] = []
    breaks: ClassVar[bool] = False  # hangs up in the middle of the weights

    def do_GET(self) -> None:
        self.asked.append(self.path)
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if address.path == "/api/models/o/m/revision/main":
            self._answer(json.dumps({"sha": "c0ffee", "siblings": [*map(self._sibling, self.files)]}).encode())
        elif address.path.startswith("/o/m/resolve/c0ffee/"):
            self._answer(self.sent[address.path.removeprefix("/o/m/resolve/c0ffee/")])
        elif address.path == "/api/v1/models/o/m/repo/files":
            listed = [{"Path": "transformer", "Type": "tree", "Size": 0, "Sha256": ""}, *map(self._row, self.files)]
            self._answer(json.dumps({"Data": {"Files": listed}}).encode())
        elif address.path == "/api/v1/models/o/m/repo":
            self._answer(self.sent[query["FilePath"]])
        else:
            self.send_error(404)

    def _sibling(self, name: str) -> dict[str, object]:
        content = self.files[name]
        if name.endswith(".safetensors"):
            large = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            return {"rfilename": name, "size": len(content), "blobId": "-", "lfs": large}
        small = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return {"rfilename": name, "size": len(content), "blobId": small}

    def _row(self, name: str) -> dict[str, object]:
        content = self.files[name]
        return {"Path": name, "Type": "blob", "Size": len(content), "Sha256": hashlib.sha256(content).hexdigest()}

    def _answer(self, content: bytes) -> None:
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.ranges.append(begin)
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        whole = content[begin:]
        self.wfile.write(whole[: len(whole) // 2] if self.breaks and len(content) == len(WEIGHTS) else whole)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    for name in ("HF_HOME", "MODELSCOPE_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    Hub.files, Hub.sent, Hub.asked, Hub.ranges, Hub.breaks = dict(FILES), dict(FILES), [], [], False
    yield Hub
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "text", ["", "wan", "path:", "hf:wan", "hf:a/b/c", "hf:../b", "hf:a/b@", "http://x/y", "hf:a/b@../../c", "hf:a b/c"]
)
def test_what_names_no_place_is_no_reference(text: str) -> None:
    with pytest.raises(UsageError, match="base model"):
        Reference.parse(text)


def test_a_revision_is_the_hubs_usual_one_unless_it_is_said() -> None:
    assert str(Reference.parse("hf:o/m")) == "hf:o/m@main"
    assert str(Reference.parse("ms:o/m")) == "ms:o/m@master"
    assert str(Reference.parse("hf:o/m@v1.0")) == "hf:o/m@v1.0"


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    base = resolve_base(f"path:{lay(tmp_path / 'wan')}")
    assert set(base.paths) == set(FILES)
    assert resolve_base(f"path:{tmp_path / 'wan'}", digest=base.digest[:16]).digest == base.digest


def test_one_changed_byte_is_another_base(tmp_path: Path) -> None:
    digest = resolve_base(f"path:{lay(tmp_path / 'wan')}").digest
    (tmp_path / "wan" / "transformer" / "config.json").write_bytes(b"[]")
    with pytest.raises(Rejected, match="not those that were agreed on"):
        resolve_base(f"path:{tmp_path / 'wan'}", digest=digest)


def test_pickles_are_never_taken(tmp_path: Path) -> None:
    folder = lay(tmp_path / "wan", {"config.json": b"{}", "pytorch_model.bin": b"\x80\x04"})
    with pytest.raises(Rejected, match="can run code"):
        resolve_base(f"path:{folder}")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    assert "pytorch_model.bin" not in resolve_base(f"path:{folder}").paths


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    folder = lay(tmp_path / "wan")
    (folder / "more.json").symlink_to(tmp_path / "secret.json")
    assert "more.json" not in resolve_base(f"path:{folder}").paths


def test_a_folder_without_weights_or_configuration_is_no_base(tmp_path: Path) -> None:
    for name in FILES:
        left = {key: value for key, value in FILES.items() if not key.endswith(("index.json", ".safetensors"))}
        with pytest.raises(Rejected, match="no base model"):
            resolve_base(f"path:{lay(tmp_path / name.replace('/', '-'), left)}")


def test_what_hugging_faces_own_tools_fetched_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "models--o--m"
    lay(folder / "snapshots" / "c0ffee")
    lay(folder, {"refs/main": b"c0ffee"})
    (folder / "blobs").mkdir()
    (folder / "blobs" / "x").write_bytes(b"{}")
    (folder / "snapshots" / "c0ffee" / "more.json").symlink_to("../../blobs/x")
    assert resolve_base("hf:o/m").folder == folder / "snapshots" / "c0ffee"
    assert "more.json" in resolve_base("hf:o/m@c0ffee").paths


def test_what_modelscopes_own_tools_fetched_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path))
    lay(tmp_path / "hub" / "models" / "o" / "m___1")
    assert resolve_base("ms:o/m.1").folder.name == "m___1"
    with pytest.raises(NotFound):
        resolve_base("ms:o/m.1@v2")


@pytest.mark.parametrize("kind", ["hf", "ms"])
def test_a_base_is_fetched_once(hub: type[Hub], tmp_path: Path, kind: str) -> None:
    with pytest.raises(NotFound, match="not on this machine"):
        resolve_base(f"{kind}:o/m")
    base = resolve_base(f"{kind}:o/m", fetch_into=tmp_path / "ours")
    assert {name: path.read_bytes() for name, path in base.paths.items()} == FILES
    asked = len(hub.asked)
    assert resolve_base(f"{kind}:o/m", fetch_into=tmp_path / "ours").digest == base.digest
    assert len(hub.asked) == asked


def test_only_words_and_safetensors_are_asked_for(hub: type[Hub], tmp_path: Path) -> None:
    hub.files |= {"pytorch_model.bin": b"\x80\x04", "../../outside.json": b"{}", "run.py": b"", ".hidden.json": b"{}"}
    base = resolve_base("hf:o/m", fetch_into=tmp_path / "ours")
    assert set(base.paths) == set(FILES)
    assert not any(word in path for path in hub.asked for word in ("bin", "outside", "run.py", "hidden"))


@pytest.mark.parametrize("name", ["model_index.json", "transformer/diffusion_pytorch_model.safetensors"])
@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c[:-1] + b"x", lambda c: c + b"x"])
def test_a_file_that_arrives_changed_is_refused(
    hub: type[Hub], tmp_path: Path, name: str, change: Callable[[bytes], bytes]
) -> None:
    hub.sent[name] = change(FILES[name])
    with pytest.raises(Rejected, match="damaged or changed"):
        resolve_base("hf:o/m", fetch_into=tmp_path / "ours")
    assert not (tmp_path / "ours" / "hf" / "o" / "m" / "main").exists()


def test_an_interrupted_fetch_goes_on_with_what_is_whole(hub: type[Hub], tmp_path: Path) -> None:
    last = "transformer/diffusion_pytorch_model.safetensors"
    hub.sent[last] = b""
    with pytest.raises(Rejected):
        resolve_base("hf:o/m", fetch_into=tmp_path / "ours")
    hub.sent[last], hub.asked[:] = FILES[last], []
    resolve_base("hf:o/m", fetch_into=tmp_path / "ours")
    assert next(path for path in hub.asked if "resolve" in path) == f"/o/m/resolve/c0ffee/{last}"
    assert not any("model_index" in path for path in hub.asked)


def test_a_file_that_broke_off_goes_on_where_it_was(hub: type[Hub], tmp_path: Path) -> None:
    hub.breaks = True
    with pytest.raises(RetryLater):
        resolve_base("hf:o/m", fetch_into=tmp_path / "ours")
    hub.breaks, hub.ranges[:] = False, []
    assert resolve_base("hf:o/m", fetch_into=tmp_path / "ours").paths.keys() == FILES.keys()
    assert len(WEIGHTS) // 2 in hub.ranges


def test_what_is_left_of_another_file_does_no_harm(hub: type[Hub], tmp_path: Path) -> None:
    name = "transformer/diffusion_pytorch_model.safetensors"
    lay(tmp_path / "ours" / "hf" / "o" / "m" / "main.part", {f"{name}.incoming": b"other"})
    with pytest.raises(Rejected):
        resolve_base("hf:o/m", fetch_into=tmp_path / "ours")
    assert resolve_base("hf:o/m", fetch_into=tmp_path / "ours").paths.keys() == FILES.keys()


def test_a_fetch_is_told_and_may_be_stopped(hub: type[Hub], tmp_path: Path) -> None:
    reference, told = Reference.parse("hf:o/m"), []

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_base(reference, tmp_path / "there", stop=stop)
    assert not (tmp_path / "there").exists()
    fetch_base(reference, tmp_path / "there", tell=lambda done, total: told.append((done, total)))
    total = sum(map(len, FILES.values()))
    assert told[-1] == (total, total)
    assert told == sorted(told)


def test_a_disk_that_is_too_full_is_said_before_anything_is_fetched(
    hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(RetryLater) as refused:
        resolve_base("hf:o/m", fetch_into=tmp_path / "ours")
    assert refused.value.code == "weights.no_space"
    assert not any("resolve" in path for path in hub.asked)


def test_a_name_is_looked_for_on_one_hub_and_then_on_the_other(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_hub("o/m").kind == "hf"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert str(find_hub("o/m")) == "ms:o/m@master"
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RetryLater):
        find_hub("o/m")


def test_a_hub_that_says_nothing_is_given_up_after_three_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the call and never answers
        monkeypatch.setattr(weights_fetch, "_PROBE_S", 0.05)
        for name in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        with pytest.raises(RetryLater):
            find_hub("o/m")


def test_a_hub_that_cannot_be_reached_is_to_be_tried_again(
    hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RetryLater, match="could not be fetched"):
        resolve_base("hf:o/m", fetch_into=tmp_path / "ours")
    monkeypatch.setenv("HF_ENDPOINT", "http://example.org")
    with pytest.raises(RetryLater, match="https"):
        resolve_base("hf:o/m", fetch_into=tmp_path / "ours")


def test_a_model_the_hub_does_not_have_is_not_found(hub: type[Hub], tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        resolve_base("hf:o/other", fetch_into=tmp_path / "ours")


def test_nothing_is_fetched_where_that_is_forbidden(
    hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NotFound):
        resolve_base("hf:o/m", fetch_into=tmp_path / "ours")
    assert not hub.asked


def test_the_matrices_of_a_part_are_told_from_headers(tmp_path: Path) -> None:
    found = base_modules(lay(tmp_path))
    assert found == {"transformer.blocks.0.attn1.to_q": [6, 4], "transformer.proj": [3, 2, 1, 1]}
    with pytest.raises(Rejected, match="no weights in a part"):
        base_modules(tmp_path, "unet")


def test_the_matrices_of_a_language_model_have_the_names_its_adapters_have(tmp_path: Path) -> None:
    lay(tmp_path, {"config.json": b"{}", "model.safetensors": WEIGHTS})
    assert set(base_modules(tmp_path)) == {"base_model.model.blocks.0.attn1.to_q", "base_model.model.proj"}
