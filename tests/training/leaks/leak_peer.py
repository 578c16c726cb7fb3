"""The peer: the same algorithms in a sandbox of mounts alone, as others build it: no network, data read-only, and the
output folder, exit status, times and log shipped as they are. Start at `run_at_the_peer`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from leak_attacks import Attack, Received, program
from leak_run import holdings

_HARNESS = """
import importlib.util, json, os, struct, sys, types
from pathlib import Path
import numpy as np

OUT = Path(os.environ["LEAK_OUT"])
results = os.open(OUT / "results", os.O_WRONLY | os.O_CREAT)
os.dup2(results, 40); os.dup2(os.open(os.devnull, os.O_RDWR), 3); os.dup2(40, 4)
frames = types.SimpleNamespace(header=lambda said: json.dumps(said).encode())
inside = types.ModuleType("malan_inside"); inside.frames = frames; inside.__path__ = []
inside.put = lambda name, data: (OUT / name).write_bytes(data)
inside.put_numbers = lambda name, said: (OUT / f"{name}.json").write_text(json.dumps(said))
inside.progress = lambda share: print(round(100 * share))
sys.modules["malan_inside"] = inside; sys.modules["malan_inside.frames"] = frames

class Set:
    def __init__(self, name):
        self.held = dict(np.load("/mnt/data/data.npz")) if name == "data" else dict(np.load("/mnt/data/held.npz"))
    def __len__(self): return len(self.held["label_N"])
    def take(self, clips, **more): return {k: v[list(clips)] for k, v in self.held.items()}
    def batches(self, size, **more):
        for at in range(0, len(self), size): yield self.take(range(at, min(at + size, len(self))))
    def _ask(self, **said): return self.take(said.get("clips", ()))

class Job:
    def __init__(self):
        self.data, self.held_out, self.said, self.parameters, self.seed = Set("data"), Set("held_out"), {}, {}, 1
        self.facts = {"descriptor": 5}
    def metrics(self, said): self.said |= said
    def progress(self, share): inside.progress(share)
    def checkpoint(self, arrays): np.savez(OUT / "checkpoint.npz", **arrays)

def written(arrays):
    head, at, parts = {}, 0, []
    for name, array in arrays.items():
        data = np.asarray(array).tobytes()
        kind = f"{array.dtype.kind.upper()}{8 * array.dtype.itemsize}"
        head[str(name)] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, at + len(data)]}
        at += len(data); parts.append(data)
    text = json.dumps(head, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(parts)

sys.path.insert(0, "/mnt/code")
spec = importlib.util.spec_from_file_location("line", "/mnt/code/line.py"); line = importlib.util.module_from_spec(spec)
spec.loader.exec_module(line)
job = Job()
weights = line.train(job)
(OUT / "adapter.safetensors").write_bytes(written(weights))
said = line.evaluate(job, weights)
np.save(OUT / "evaluation.npy", said["outputs"])
(OUT / "metrics.json").write_text(json.dumps(job.said))
"""

_MOST_FILE = 2 << 20


def run_at_the_peer(
    attack: Attack, secret: bytes, hear: Mapping[str, object], folder: Path, *, walls: bool = True
) -> Received:
    """Everything the buyer gets of this run at the peer; without walls, of the same with no sandbox at all."""
    out, data, code = (folder / name for name in ("out", "data", "code"))
    for place in (out, data, code):
        place.mkdir(parents=True)
    for name, held in (("data", holdings(secret, 1, "a")), ("held", holdings(bytes(len(secret)), 2, "h"))):
        labels = np.array([one == ["day"] for one in held.labels], "i4")
        np.savez(data / f"{name}.npz", descriptor_ND=held.descriptors_ND, label_N=labels)
    (code / "line.py").write_bytes(program(attack))
    (code / "harness.py").write_text(_HARNESS)
    command = [
        "bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp",
        *_visible(sys.prefix), *_visible(sys.base_prefix),
        "--tmpfs", "/mnt", "--ro-bind", str(data), "/mnt/data", "--ro-bind", str(code), "/mnt/code",
        "--bind", str(out), "/mnt/out", "--unshare-net", "--unshare-pid", "--die-with-parent", "--chdir", "/mnt/out",
    ]  # fmt: skip
    inside = "/mnt" if walls else str(folder)
    command = command if walls else []
    environment = {"LEAK_OUT": f"{inside}/out", "LEAK_HEAR": json.dumps(hear), "PATH": os.environ["PATH"]}
    began = time.monotonic()
    ran = subprocess.run(
        [*command, sys.executable, "-s", "-P", "-c", _HARNESS.replace("/mnt/", f"{inside}/")],
        env=environment, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - began
    time.sleep(0.5 if "setsid" in attack.train else 0)
    files, words = _shipped(out)
    metrics = json.loads(files.get("metrics.json", b"{}") or b"{}")
    log = ran.stdout[:_MOST_FILE] + ran.stderr[:_MOST_FILE]
    return Received(files, words, metrics, ran.returncode, seconds, log, state=f"exit {ran.returncode}")


def _visible(path: str) -> tuple[str, ...]:
    """Python itself, also where it lies below a folder that is hidden."""
    return ("--ro-bind", path, path) if path.startswith("/tmp/") else ()


def _shipped(out: Path) -> tuple[dict[str, bytes], str]:
    """The folder as archivers pack it: links followed, names and times kept."""
    files: dict[str, bytes] = {}
    words = []
    for here, folders, names in os.walk(out, followlinks=True):
        if len(files) > 200:
            break
        for name in [*names, *folders]:
            path = Path(here) / name
            words.append(f"{path.relative_to(out)}")
            if path.is_file():
                with path.open("rb") as file:
                    files[str(path.relative_to(out))] = file.read(_MOST_FILE)
                words.append(str(path.stat().st_mtime_ns))
    return files, "\n".join(words)
