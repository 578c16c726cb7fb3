"""The console over two drawn films, once a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from console_client import TestClient
from console_factory import Stage, make_workspace

from malan.web.app import create_app


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    ws, city, alps = make_workspace(tmp_path_factory.mktemp("console"))
    yield Stage(ws, city, alps)
    ws.database.dispose()


@pytest.fixture
def client(stage: Stage) -> Iterator[TestClient]:
    """Asks the console without a network, as a page of its own would."""
    with TestClient(create_app(stage.ws), base_url="http://127.0.0.1:8600") as client:
        yield client
