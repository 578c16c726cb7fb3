"""Connectors that listen on loopback while a test lasts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from malan.exchange import test_mode
from malan.exchange.app import create_exchange
from malan.services.dsp import words
from malan.services.dsp.contracts import AUTOMATIC, LocalContracts, Offer
from malan.services.dsp.flow import Exchange
from malan.services.exchange.negotiation import open_exchange
from malan.web.server import listen
from malan.workspace import Workspace

Making = Callable[[str], tuple[Exchange, Any]]


@dataclass
class Node:
    """A connector and where it is."""

    url: str
    ex: Exchange

    @property
    def root(self) -> str:
        return f"{self.url}/dsp/2025-1"


@contextmanager
def serving(make: Making) -> Iterator[Node]:
    """Serve what `make` makes of an address, with its sender at work."""
    listening = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    ex, app = make(url)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    ex.sender.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield Node(url, ex)
    finally:
        ex.sender.stop()
        server.should_exit = True
        thread.join(10)
        listening.close()


@contextmanager
def seeded_node(seed: test_mode.Seed) -> Iterator[Node]:
    """A connector in test mode."""

    with test_mode.empty_workspace(None) as ws:

        def make(url: str) -> tuple[Exchange, Any]:
            ex = test_mode.open_test_exchange(ws, url, seed)
            return ex, test_mode.create_test_exchange(ex, seed)

        with serving(make) as node:
            yield node


@contextmanager
def node(ws: Workspace, *, pauses_s: Sequence[float] = (0.05, 0.1), is_single_user: bool = False) -> Iterator[Node]:
    """A connector as in production, over a workspace."""

    def make(url: str) -> tuple[Exchange, Any]:
        ex = open_exchange(ws, url, pauses_s=pauses_s)
        return ex, create_exchange(ex, is_single_user=lambda: is_single_user)

    with serving(make) as found:
        yield found


def introduce(ws: Workspace, participant: str, partners: Mapping[str, str], *, allow: str = '"127.0.0.0/8"') -> None:
    """Write `exchange.toml`: who we are, and whose keys we believe."""
    lines = [f'participant = "{participant}"', f"allowed_networks = [{allow}]"]
    for name, key in partners.items():
        lines += ["[[partner]]", f'id = "{name}"', f'keys = ["{key}"]']
    (ws.root / "exchange.toml").write_text("\n".join(lines) + "\n")


def key_of(ws: Workspace) -> str:
    ws.keys.start()
    return ws.keys.actor("operator").key_id


def make_offer(ws: Workspace, dataset: str, *, manner: str = AUTOMATIC, **more: Any) -> Offer:
    """Offer a dataset that needs no footage: an agreement is about its id."""
    policy = {
        "@id": f"offer:{dataset}",
        "@type": "Offer",
        "target": dataset,
        "permission": [
            {
                "action": "http://www.w3.org/ns/odrl/2/ai-training",
                "constraint": [
                    {
                        "leftOperand": f"{words.MALAN}clipSeconds",
                        "operator": "lteq",
                        "rightOperand": {"@value": "3600", "@type": "xsd:decimal"},
                    }
                ],
            }
        ],
        "prohibition": [{"action": "http://www.w3.org/ns/odrl/2/distribute"}],
    }
    made = Offer(policy["@id"], dataset, policy, "Night city", manner=manner, **more)
    return LocalContracts(ws).offer(made)


def fresh(folder: Path) -> Workspace:
    return Workspace.create(folder)
