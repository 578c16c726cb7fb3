"""A PostgreSQL of our own: a cluster in a folder of its own, on a Unix socket nobody else can reach, gone at the end.

PostgreSQL refuses to run as root, so root starts it as the user `postgres`. The server ends with whoever started it,
also when that process is killed. Start reading at `postgres_server`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

SPEED = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off")
PLAIN = ("listen_addresses=", "shared_buffers=64MB", "max_connections=400", "logging_collector=off")


def programs() -> Path | None:
    """The folder of the server's programs, the newest version of what is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return found[-1].parent if found else None


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[str]:
    """A running server; its URL without a database, to which a name is added.

    Args:
        durable: Commits wait for the disk as in production. Otherwise the server is fast and forgets on power loss.
    """
    bin_folder = programs()
    assert bin_folder is not None
    folder = Path(tempfile.mkdtemp(prefix="malan-pg-"))
    as_user = _as_postgres(folder)
    try:
        initdb = [bin_folder / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "--no-sync"]
        locale = ["--encoding=UTF8", "--no-locale"]
        subprocess.run([*as_user, *initdb, *locale], check=True, stdout=subprocess.DEVNULL, cwd=folder)
        settings = [*PLAIN, f"unix_socket_directories={folder}", *(() if durable else SPEED)]
        options = [word for setting in settings for word in ("-c", setting)]
        with (folder / "log").open("wb") as log:
            command = [*as_user, bin_folder / "postgres", "-D", folder / "data", *options]
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            _wait(server, folder)
            yield f"postgresql://postgres@/NAME?host={folder}"
        finally:
            server.terminate()  # smart: waits for clients; the tests have closed theirs
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def create_database(server_url: str, name: str) -> str:
    """A fresh database; its URL."""
    with psycopg.connect(server_url.replace("NAME", "postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return server_url.replace("NAME", name)


def drop_database(server_url: str, name: str) -> None:
    """Gone, also when somebody is still connected."""
    with psycopg.connect(server_url.replace("NAME", "postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


def _as_postgres(folder: Path) -> list[str]:
    """The words before a command: the right user, and a signal to the server when its parent is gone."""
    if os.geteuid() != 0:
        return ["setpriv", "--pdeathsig", "INT", "--"]
    shutil.chown(folder, "postgres", "postgres")
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig", "INT", "--"]


def _wait(server: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(600):
        if server.poll() is not None:
            raise RuntimeError((folder / "log").read_text(errors="replace")[-2000:])
        try:
            psycopg.connect(f"postgresql://postgres@/postgres?host={folder}").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("PostgreSQL did not start within 30 s")
