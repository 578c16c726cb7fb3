"""The gateway: what it costs beside a direct call, whether budgets hold, jobs with 100,000 stored, workers killed.

Peer: the same request to the same local endpoint without the gateway, by the same client, in turn. The gateway is the
server that `malan up` starts, in a process of its own; so is the endpoint.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "apps" / "queue"))

from common import Report, arguments

from malan.apps.queue.work import work
from malan.runtime.database import add_new, updating
from malan.services.access import COMMAND_LINE
from malan.services.accounts.parties import add_party
from malan.services.gateway.keys import Allowance, gateway_usage, list_gateway_keys, make_gateway_key
from malan.services.jobs.queue import DONE, OVER, Ask, get_job, list_jobs, recover, submit
from malan.services.jobs.queue_tables import JOBS, queue_tables
from malan.workspace import Workspace

CLIENTS = 100
STORED = 100_000
SETTLED_S = 4.0  # until a server has loaded what it loads beside its first page
KILLS = 200
PRICE = {"currency": "CNY", "request": 10, "second": 0, "seconds": 4.0, "quoted": 0}
ANSWER = json.dumps(
    {"id": "x", "object": "chat.completion", "created": 1, "model": "m",
     "usage": {"prompt_tokens": 20, "completion_tokens": 9},
     "choices": [{"index": 0, "message": {"role": "assistant", "content": "云海之上" * 20}, "finish_reason": "stop"}]}
).encode()  # fmt: skip


def main() -> None:
    if sys.argv[1:2] == ["endpoint"]:
        asyncio.run(endpoint())
        return
    given = arguments(__doc__.splitlines()[0])
    report = Report("Gateway")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="malan-bench-")))
        place = Place(stack, folder, gateways=1 if given.quick else 2)
        overhead(report, place, 60 if given.quick else 2_000, given.runs)
        budget(report, place, 200 if given.quick else 3_000)
        jobs(report, place, 500 if given.quick else STORED, 20 if given.quick else 300)
    with tempfile.TemporaryDirectory(prefix="malan-bench-") as name:
        kills(report, new_workspace(Path(name) / "workspace"), 3 if given.quick else KILLS)
    report.show()
    if given.json:
        report.save(given.json)


def new_workspace(root: Path) -> Workspace:
    """One where a party may have as many jobs open as this asks for; they are counted all the same."""
    root.mkdir(parents=True)
    (root / "malan.toml").write_text("open_jobs = 1_000_000\n")
    return Workspace(root)


class Place:
    """A workspace with a key, an endpoint, and servers over the workspace."""

    def __init__(self, stack: ExitStack, folder: Path, *, gateways: int) -> None:
        self.ws = new_workspace(folder / "workspace")
        stack.callback(self.ws.database.dispose)
        add_party(self.ws, COMMAND_LINE, "湖南台", kind="organisation", has=("buyer",))
        self.endpoint = stack.enter_context(process([sys.executable, __file__, "endpoint"]))
        (self.ws.root / "models.toml").write_text(
            f'[engines.m]\nkind = "chat"\nbackend = "openai"\nmodel = "m"\n'
            f'url = "http://127.0.0.1:{self.endpoint}/v1"\n'
            '[prices.m]\ncurrency = "CNY"\ninput_million = 100\noutput_million = 1000\n'
        )
        self.key = self.new_key(None)
        command = [sys.executable, "-m", "malan.server", str(self.ws.root), "127.0.0.1", "0"]
        self.gateways = [stack.enter_context(process(command)) for _ in range(gateways)]
        time.sleep(SETTLED_S)

    def new_key(self, budget_minor: int | None) -> str:
        allowance = Allowance("bench", budget_minor=budget_minor)
        return make_gateway_key(self.ws, COMMAND_LINE, "湖南台", allowance).text

    def shown(self, key: str) -> dict[str, Any]:
        prefix = "_".join(key.split("_")[:2])
        return next(one for one in list_gateway_keys(self.ws, COMMAND_LINE) if one["prefix"] == prefix)


@contextmanager
def process(command: list[str]) -> Iterator[int]:
    """A process that prints the port it listens on; ended with the block."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as running:
        assert running.stdout is not None
        try:
            line = running.stdout.readline()
            yield int(line.strip().rstrip("/").rpartition(":")[2].split()[0].strip("。.）)"))
        finally:
            running.terminate()
            try:
                running.wait(15)
            except subprocess.TimeoutExpired:
                running.kill()


class Endpoint(asyncio.Protocol):
    """An OpenAI-compatible endpoint that costs next to nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.line, self.waiting = transport, b""

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        while (found := whole_message(self.waiting)) is not None:
            self.waiting = self.waiting[found:]
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
            self.line.write(head + ANSWER)  # type: ignore[attr-defined]


def whole_message(data: bytes) -> int | None:
    """How long the first message is; None while it is not all there."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(b"content-length:")
    size = int(head[at + 15 :].split(b"\r\n")[0]) if at >= 0 else 0
    return end + 4 + size if len(data) >= end + 4 + size else None


async def endpoint() -> None:
    server = await asyncio.get_running_loop().create_server(Endpoint, "127.0.0.1", 0)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


class Line:
    """One connection that stays open; asks and reads whole answers."""

    @classmethod
    async def to(cls, port: int) -> Line:
        self = cls()
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        return self

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        at = head.lower().find(b"content-length:")
        body = await self.reader.readexactly(int(head[at + 15 :].split(b"\r\n")[0]))
        return int(head[9:12]), body


def request_of(port: int, key: str, path: str, said: Any = None) -> bytes:
    body = b"" if said is None else json.dumps(said).encode()
    method = "GET" if said is None else "POST"
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {key}\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def chat_of(port: int, key: str) -> bytes:
    said = {"model": "m", "messages": [{"role": "user", "content": "云海之上是什么样子？" * 5}], "max_tokens": 100}
    return request_of(port, key, "/v1/chat/completions", said)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def overhead(report: Report, place: Place, count: int, runs: int) -> None:
    """One client, direct and through the gateway in turn; then many clients."""
    port = place.gateways[0]
    direct, through = asyncio.run(in_turn(place.endpoint, port, place.key, count))
    more = [b - a for a, b in zip(sorted(direct), sorted(through), strict=True)]
    added = percentile(through, 0.95) - percentile(direct, 0.95)
    report.add(
        "a chat request through the gateway, p50 / p95", f"{shown(through, 0.5)} / {shown(through, 0.95)}",
        peer=f"direct: {shown(direct, 0.5)} / {shown(direct, 0.95)}",
    )  # fmt: skip
    report.add("overhead of the gateway, p50 / p95", f"{statistics.median(more) * 1e3:.2f} / {added * 1e3:.2f} ms",
               must="p95 ≤ 5 ms", met=added <= 0.005)  # fmt: skip
    speeds = [asyncio.run(flood(port, chat_of(port, place.key), 32, count)) for _ in range(runs)]
    straight = asyncio.run(flood(place.endpoint, chat_of(place.endpoint, place.key), 32, count))
    speed = statistics.median(speeds)
    report.add("requests a second, 32 clients", f"{speed:.0f}", peer=f"direct: {straight:.0f}", must="≥ 300",
               met=speed >= 300)  # fmt: skip


def shown(values: list[float], share: float) -> str:
    return f"{percentile(values, share) * 1e3:.2f} ms"


async def in_turn(endpoint_port: int, port: int, key: str, count: int) -> tuple[list[float], list[float]]:
    lines = [(await Line.to(endpoint_port), chat_of(endpoint_port, key)), (await Line.to(port), chat_of(port, key))]
    took: tuple[list[float], list[float]] = ([], [])
    for turn in range(count + 20):
        for (line, request), times in zip(lines, took, strict=True):
            began = time.perf_counter()
            status, _ = await line.ask(request)
            assert status == 200, status
            if turn >= 20:
                times.append(time.perf_counter() - began)
    return took


async def flood(port: int, request: bytes, clients: int, count: int) -> float:
    lines = [await Line.to(port) for _ in range(clients)]

    async def some(line: Line) -> None:
        for _ in range(max(1, count // clients)):
            status, _ = await line.ask(request)
            assert status == 200, status

    began = time.perf_counter()
    await asyncio.gather(*map(some, lines))
    return max(1, count // clients) * clients / (time.perf_counter() - began)


def budget(report: Report, place: Place, count: int) -> None:
    """A hundred clients, all gateways, one key whose budget does not suffice."""
    cost = 100 * 20 + 1000 * 9
    key = place.new_key(max(1, count * cost // 4 // 10**6))
    statuses, charged = asyncio.run(spend(place.gateways, key, count))
    row = place.shown(key)
    most = row["budget_minor"] * 10**6
    over = max(0, row["spent"]["micro"] - most, sum(charged) - most)
    is_exact = row["spent"]["micro"] == sum(charged) and row["held"]["micro"] == 0
    report.add(
        f"budget overrun, {CLIENTS} clients, {len(place.gateways)} servers, {count} requests",
        f"{over} of {most} micro; {statuses.get(200, 0)} answered, {statuses.get(429, 0)} refused; "
        f"{'all' if is_exact else 'not all'} accounted for",
        must="0", met=over == 0 and is_exact,
    )  # fmt: skip


async def spend(ports: list[int], key: str, count: int) -> tuple[dict[int, int], list[int]]:
    statuses: dict[int, int] = {}
    charged: list[int] = []

    async def client(number: int) -> None:
        port = ports[number % len(ports)]
        line, request = await Line.to(port), chat_of(port, key)
        for _ in range(max(1, count // CLIENTS)):
            status, body = await line.ask(request)
            statuses[status] = statuses.get(status, 0) + 1
            if status == 200:
                charged.append(json.loads(body)["malan"]["cost"]["micro"])

    await asyncio.gather(*map(client, range(CLIENTS)))
    return statuses, charged


def jobs(report: Report, place: Place, stored: int, count: int) -> None:
    """Jobs are submitted and looked at while many are stored."""
    fill(place.ws, stored)
    port = place.gateways[0]
    submitting, retrieving, listing = asyncio.run(ask_jobs(port, place.key, count))
    for what, times, most in (
        ("submit", submitting, 50),
        ("retrieve", retrieving, 10),
        ("list, 20 a page", listing, None),
    ):
        p95 = percentile(times, 0.95) * 1e3
        must = {} if most is None else {"must": f"p95 ≤ {most} ms", "met": p95 <= most}
        report.add(f"{what}, {stored:,} jobs stored, p50 / p95", f"{shown(times, 0.5)} / {p95:.2f} ms", **must)


def fill(ws: Workspace, count: int) -> None:
    """Jobs that are over, of the key's party and of others."""
    row = asdict(submit(ws, Ask("video", {"prompt": "clouds"}, "video", party_id=party_of(ws))))
    row |= {"state": DONE, "told": {"files": [], "sources": []}, "ended_s": time.time()}
    rows = [
        {
            **row,
            "id": f"video_{number:032x}",
            "created_s": float(number),
            "party_id": row["party_id"] if number % 2 else "x",
        }
        for number in range(count)
    ]
    for start in range(0, count, 5_000):
        with updating(queue_tables(ws)) as connection:
            add_new(connection, JOBS, rows[start : start + 5_000])


def party_of(ws: Workspace) -> str:
    return str(list_gateway_keys(ws, COMMAND_LINE)[0]["party"])


async def ask_jobs(port: int, key: str, count: int) -> tuple[list[float], list[float], list[float]]:
    line = await Line.to(port)
    took: tuple[list[float], list[float], list[float]] = ([], [], [])
    for turn in range(count + 5):
        said = {"prompt": f"clouds over mountains {turn}", "seconds": "4"}
        begun = [time.perf_counter()]
        status, body = await line.ask(request_of(port, key, "/v1/videos", said))
        assert status == 200, body
        begun.append(time.perf_counter())
        status, _ = await line.ask(request_of(port, key, f"/v1/videos/{json.loads(body)['id']}"))
        assert status == 200
        begun.append(time.perf_counter())
        status, _ = await line.ask(request_of(port, key, "/v1/videos?limit=20"))
        begun.append(time.perf_counter())
        if turn >= 5:
            for times, start, end in zip(took, begun, begun[1:], strict=False):
                times.append(end - start)
    return took


def kills(report: Report, ws: Workspace, count: int) -> None:
    """Workers, or the processes in which they have jobs done, are killed at random moments."""
    add_party(ws, COMMAND_LINE, "湖南台", kind="organisation", has=("buyer",))
    make_gateway_key(ws, COMMAND_LINE, "湖南台", Allowance("bench", budget_minor=10**9))
    key = list_gateway_keys(ws, COMMAND_LINE)[0]
    chance, made = random.Random(7), []
    began = time.perf_counter()
    worker = start_worker(ws)
    for number in range(count):
        wish = {"prompt": f"slow {chance.randrange(1, 12)}", "seconds": 4}
        ask = Ask("video", wish, "video", "malan-assemble", "cpu", key["party"], key["prefix"].removeprefix("mk_"))
        made.append(submit(ws, replace(ask, key_app="bench", price=PRICE)).id)
        time.sleep(chance.random() * 1.2)
        inner = children(worker.pid)
        if inner and number % 2:
            kill(inner[0])
        else:
            worker.kill()
            worker.wait()
            worker = start_worker(ws)
    worker.kill()
    worker.wait()
    took = time.perf_counter() - began
    began = time.perf_counter()
    finish_all(ws)
    found = [get_job(ws, one) for one in made]
    stuck = sum(job.state not in OVER for job in found)
    done = sum(job.state == DONE for job in found)
    row = list_gateway_keys(ws, COMMAND_LINE)[0]
    charged = row["spent"]["micro"] // (10 * 10**6)
    usage = gateway_usage(ws)["usage"]
    rows = usage[0]["requests"] if usage else 0
    is_right = charged == rows == done and row["held"]["micro"] == 0
    report.add(
        f"workers killed at {count} random moments",
        f"{stuck} stuck; {done} done, {len(made) - done} ended with a reason; {charged} charged ({rows} rows), "
        f"{row['held']['micro']} held", must="0 stuck, 0 charged twice",
        met=stuck == 0 and is_right,
    )  # fmt: skip
    report.notes.append(
        f"Kills: every second one the worker, every other the process inside; {took:.0f} s, then "
        f"{time.perf_counter() - began:.0f} s until all were over. A job is given up after three deaths."
    )
    ws.database.dispose()


def start_worker(ws: Workspace) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from pathlib import Path; from malan.workspace import Workspace; "
        "from malan.apps.queue.work import work; "
        "work(Workspace(Path(sys.argv[1])), function='queue_programs:carry_out')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen([sys.executable, "-c", code, str(ws.root)], env=environment, start_new_session=True)


def children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] or [
            int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()
        ]
    except OSError:
        return []


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def finish_all(ws: Workspace) -> None:
    over: Callable[[], bool] = lambda: not list_jobs(ws, states=("queued", "in_progress"))[0]  # noqa: E731
    stop = threading.Event()
    deadline = time.monotonic() + 600
    worker = threading.Thread(
        target=work, args=(ws,), kwargs={"stop": stop.is_set, "function": "queue_programs:carry_out"}
    )
    recover(ws)
    worker.start()
    while not over() and time.monotonic() < deadline:
        time.sleep(0.2)
    stop.set()
    worker.join()


if __name__ == "__main__":
    main()
