"""Fixtures every test may use."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4
from weakref import WeakSet

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from malan.workspace import Workspace


settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def footage() -> Path:
    """The folder of real, licensed footage; tests that need it are skipped, with the reason, where it is not."""
    default = Path(__file__).resolve().parents[2] / "shared" / "footage"
    folder = Path(os.environ.get("MALAN_FOOTAGE", default))
    if not (folder / "README.md").is_file():
        pytest.skip(f"real footage is not on this machine (looked in {folder}; set MALAN_FOOTAGE)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _nothing_waits_for_the_disk() -> Iterator[None]:
    """No test cuts the power, so nothing in this process waits until a file would survive that. Processes that tests
    start, and kill, do."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, lambda file: os.fstat(file) and None)
        yield


@pytest.fixture(scope="module", autouse=True)
def _few_open_files() -> Iterator[None]:
    """Workspaces that tests made hold files until they are collected; a long suite would hold thousands."""
    yield
    if sum(1 for _ in Path("/proc/self/fd").iterdir()) > 200:
        gc.collect()


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages in tests are English unless a test says otherwise."""
    monkeypatch.setenv("MALAN_LANG", "en")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--postgres`: every workspace that a test makes keeps its records in a PostgreSQL database of its own."""
    parser.addoption("--postgres", action="store_true", help="run the suite on PostgreSQL instead of SQLite")


def pytest_configure(config: pytest.Config) -> None:
    """A test that leaves a SQLite file open passes; one that leaves a connection open should not fail for it either."""
    if config.getoption("--postgres"):
        for kind in ("ResourceWarning", "pytest.PytestUnraisableExceptionWarning"):
            config.addinivalue_line("filterwarnings", f"ignore::{kind}")


@pytest.fixture(scope="session", autouse=True)
def _all_on_postgres(request: pytest.FixtureRequest) -> Iterator[None]:
    """The settings file of a new workspace names a fresh database, so that other processes find it too."""
    if not request.config.getoption("--postgres"):
        yield
        return
    from postgres_server import create_database

    from malan.workspace import Workspace

    server, make = request.getfixturevalue("postgres_url"), Workspace.create.__func__

    def create(cls: type[Workspace], root: Path) -> Workspace:
        settings = root / "malan.toml"
        if not settings.exists():
            root.mkdir(parents=True, exist_ok=True)
            settings.write_text(f'database = "{create_database(server, f"w{uuid4().hex}")}"\n')
        return make(cls, root)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workspace, "create", classmethod(create))
        with _closing_what_was_left_open():
            yield


@contextmanager
def _closing_what_was_left_open() -> Iterator[None]:
    """Connections of workspaces that tests did not put away are closed at the end."""
    from psycopg import Connection
    from sqlalchemy import event
    from sqlalchemy.pool import Pool

    made: WeakSet[Connection] = WeakSet()

    def note(connection: object, _record: object) -> None:
        if isinstance(connection, Connection):
            made.add(connection)

    event.listen(Pool, "connect", note)
    yield
    event.remove(Pool, "connect", note)
    for connection in list(made):
        connection.close()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server of this test process, fast and forgetful; its URL, in which NAME is the database."""
    from postgres_server import postgres_server, programs

    if programs() is None:
        pytest.skip("PostgreSQL is not on this machine (Debian: postgresql); tools/system.sh test installs it")
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where an empty database is, for `open_database` in this process or another: a SQLite file, then PostgreSQL."""
    if request.param == "sqlite":
        yield str(tmp_path / "malan.db")
        return
    from postgres_server import create_database, drop_database

    server, name = request.getfixturevalue("postgres_url"), f"t{uuid4().hex}"
    yield create_database(server, name)
    drop_database(server, name)


@pytest.fixture
def database(database_place: str) -> Iterator[Engine]:
    """An empty database, on SQLite and then on PostgreSQL: a test that asks for it runs twice."""
    from malan.runtime.database import open_database

    engine = open_database(database_place)
    yield engine
    engine.dispose()


@pytest.fixture
def workspace(database_place: str, tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace, its records on SQLite and then on PostgreSQL: a test that asks for it runs twice."""
    from malan.workspace import Workspace

    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "malan.toml").write_text(f'database = "{database_place}"\n')
    ws = Workspace(folder)
    yield ws
    ws.database.dispose()
