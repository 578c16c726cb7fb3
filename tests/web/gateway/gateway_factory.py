"""A gateway with engines behind it that are a real server of their own, and keys to ask it with."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.services.access import COMMAND_LINE
from malan.services.accounts.parties import add_party
from malan.services.gateway.keys import Allowance, NewGatewayKey, list_gateway_keys, make_gateway_key
from malan.workspace import Workspace

if TYPE_CHECKING:
    from openai import OpenAI

WAYS = ("ok", "hang", "garbage", "half", "busy", "broken", "denies", "refuses", "redirect", "long", "nan", "liar",
        "uncounted", "slow", "stall", "nonsense", "whole")  # fmt: skip
KINDS = {"chat": WAYS, "embeddings": WAYS[:12], "speech": WAYS[:11], "transcription": WAYS[:11],
         "image": (*WAYS[:11], "points")}  # fmt: skip
SILENCES_S = {"hang": 1.0, "stall": 10.0}  # who must be given up; one that stalls must have begun by then
ROUTES = {
    "gpt-4o": ("chat-ok",),
    "gpt-4o-mini": ("chat-broken", "chat-busy", "chat-ok"),
    "hopeless": ("chat-broken", "chat-garbage"),
    "stubborn": ("chat-refuses", "chat-ok"),
    "text-embedding-3-small": ("embeddings-ok",),
    "whisper-1": ("transcription-ok",),
    "tts-1": ("speech-ok",),
    "gpt-image-1": ("image-ok",),
}
PRICES = {
    "gpt-4o": "input_million = 100\noutput_million = 1000",
    "text-embedding-3-small": "input_million = 10",
    "whisper-1": "second = 2",
    "tts-1": "thousand_chars = 100",
    "gpt-image-1": "image = 50",
    "malan-assemble": "second = 10",
}


@dataclass(frozen=True)
class Gateway:
    """A server, its engines, and a key to it."""

    ws: Workspace
    url: str
    upstream: str
    key: NewGatewayKey
    clients: list[OpenAI] = field(default_factory=list)

    def official(self, key: str = "", **more: Any) -> OpenAI:
        """The official client; closed with the gateway."""
        from openai import OpenAI

        made = OpenAI(base_url=f"{self.url}/v1", api_key=key or self.key.text, max_retries=0, timeout=300, **more)
        self.clients.append(made)
        return made

    def new_key(self, name: str = "湖南台", **allowed: Any) -> NewGatewayKey:
        """Another key, of this party unless named."""
        return make_gateway_key(self.ws, COMMAND_LINE, name, Allowance(**{"app": "test", **allowed}))

    def shown(self, key: NewGatewayKey) -> dict[str, Any]:
        """A key as its operator sees it."""
        found = list_gateway_keys(self.ws, COMMAND_LINE)
        return next(one for one in found if one["prefix"] == f"mk_{key.key.prefix}")

    def seen(self) -> dict[str, Any]:
        """What the engines were asked."""
        with urllib.request.urlopen(f"{self.upstream}/seen") as reply:
            return json.loads(reply.read())


def write_models(ws: Workspace, upstream: str) -> None:
    """`models.toml` with an engine for each way to behave."""
    lines = []
    for kind, ways in KINDS.items():
        for way in ways:
            lines += [f'[engines."{kind}-{way}"]', f'kind = "{kind}"', 'backend = "openai"', f'url = "{upstream}/v1"',
                      f'model = "{way}"', f"timeout_s = {SILENCES_S.get(way, 120.0)}"]  # fmt: skip
    lines.append('[engines.keyed]\nkind = "chat"\nbackend = "openai"\nmodel = "ok"\nkey_env = "UPSTREAM_KEY"')
    lines.append(f'url = "{upstream}/v1"')
    lines.append('[engines.gone]\nkind = "chat"\nbackend = "openai"\nmodel = "ok"\nurl = "http://127.0.0.1:9/v1"')
    lines.append(f'[engines."配音"]\nkind = "speech"\nbackend = "openai"\nmodel = "ok"\nurl = "{upstream}/v1"')
    lines.append("[routes]")
    lines += [f'"{name}" = {json.dumps(list(to))}' for name, to in ROUTES.items()]
    for name, price in PRICES.items():
        lines += [f'[prices."{name}"]', 'currency = "CNY"', price]
    (ws.root / "models.toml").write_text("\n".join(lines) + "\n")


@contextmanager
def upstream_server() -> Iterator[str]:
    """The engines' server, a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("upstream.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        yield f"http://127.0.0.1:{port}"
        process.kill()


@contextmanager
def gateway(folder: Path) -> Iterator[Gateway]:
    """A gateway that runs for as long as the block."""
    from console_factory import serving

    (folder / "workspace").mkdir()
    (folder / "workspace" / "malan.toml").write_text('producer_code = "001191110000802100433B10001"\nopen_jobs = 0\n')
    ws = Workspace(folder / "workspace")
    add_party(ws, COMMAND_LINE, "湖南台", kind="organisation", has=("buyer",))
    add_party(ws, COMMAND_LINE, "芒果", kind="organisation", has=("buyer",))
    with upstream_server() as upstream:
        write_models(ws, upstream)
        key = make_gateway_key(ws, COMMAND_LINE, "湖南台", Allowance("desk"))
        with serving(ws) as url:
            found = Gateway(ws, url, upstream, key)
            yield found
            for client in found.clients:
                client.close()
    ws.database.dispose()
