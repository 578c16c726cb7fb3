"""The database: SQLite and PostgreSQL keep the same promises, and an address never tells its password."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, delete, select

from malan.core.errors import StoreError, UsageError
from malan.runtime.database import (
    SCHEMA_VERSION,
    add_new,
    ensure_tables,
    erase,
    open_database,
    put,
    reading,
    shown_place,
    updating,
    writing,
)
from malan.runtime.migrations import STEPS, Step, migrate, version_of
from malan.workspace import Workspace

METADATA = MetaData()
THINGS = Table("things", METADATA, Column("id", String, primary_key=True), Column("count", Integer, nullable=False))
SECRET = "s3cr3t-p4ss"


@pytest.fixture
def things(database: Engine) -> Engine:
    ensure_tables(database, METADATA)
    return database


def count_of(engine: Engine, key: str) -> int | None:
    with reading(engine) as connection:
        return connection.scalar(select(THINGS.c.count).where(THINGS.c.id == key))


def test_a_row_that_is_there_stays_as_it_stands(things: Engine) -> None:
    with writing(things) as connection:
        assert add_new(connection, THINGS, {"id": "a", "count": 1}) == 1
        assert add_new(connection, THINGS, [{"id": "a", "count": 9}, {"id": "b", "count": 2}]) == 1
        assert add_new(connection, THINGS, []) == 0
    assert (count_of(things, "a"), count_of(things, "b")) == (1, 2)


def test_put_writes_a_row_or_changes_it(things: Engine) -> None:
    with writing(things) as connection:
        put(connection, THINGS, {"id": "a", "count": 1})
        put(connection, THINGS, {"id": "a", "count": 5})
        put(connection, THINGS, {"id": "a", "count": 1}, {"count": THINGS.c.count + 1})
    assert count_of(things, "a") == 6


def test_an_error_undoes_the_whole_transaction(things: Engine) -> None:
    def interrupted(connection: Connection) -> None:
        connection.execute(THINGS.insert().values(id="a", count=1))
        raise KeyboardInterrupt

    for transaction in (writing, updating):
        with pytest.raises(KeyboardInterrupt), transaction(things) as connection:
            interrupted(connection)
    assert count_of(things, "a") is None


def test_what_a_writer_read_stays_true_until_it_has_written(things: Engine) -> None:
    with writing(things) as connection:
        put(connection, THINGS, {"id": "a", "count": 0})

    def add_ten() -> None:
        for _ in range(10):
            with writing(things) as connection:
                now = connection.scalar(select(THINGS.c.count))
                connection.execute(THINGS.update().values(count=now + 1))

    threads = [threading.Thread(target=add_ten) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count_of(things, "a") == 40


def test_a_reader_sees_one_state(things: Engine) -> None:
    with writing(things) as connection:
        put(connection, THINGS, {"id": "a", "count": 1})
    with reading(things) as reader:
        assert reader.scalar(select(THINGS.c.count)) == 1
        with writing(things) as connection:
            put(connection, THINGS, {"id": "a", "count": 2})
        assert reader.scalar(select(THINGS.c.count)) == 1
    assert count_of(things, "a") == 2


def test_tables_are_made_once_however_many_ask_at_the_same_time(database_place: str) -> None:
    engines = [open_database(database_place) for _ in range(4)]
    threads = [threading.Thread(target=ensure_tables, args=(engine, METADATA)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for engine in engines:
        assert count_of(engine, "a") is None
        engine.dispose()


def test_what_is_erased_is_gone_and_the_rest_stays(things: Engine) -> None:
    with writing(things) as connection:
        add_new(connection, THINGS, [{"id": SECRET, "count": 1}, {"id": "b", "count": 2}])
    erase(things, THINGS, delete(THINGS).where(THINGS.c.id == SECRET))
    assert (count_of(things, SECRET), count_of(things, "b")) == (None, 2)
    if things.dialect.name == "sqlite":
        folder = Path(str(things.url.database)).parent
        assert not any(SECRET.encode() in file.read_bytes() for file in folder.iterdir())


def test_a_database_of_a_newer_malan_is_refused(database_place: str) -> None:
    engine = open_database(database_place)
    with writing(engine) as connection:
        migrate(connection, [Step("nothing", "-", lambda _: None)] * SCHEMA_VERSION)
        assert version_of(connection) == SCHEMA_VERSION + 1
    engine.dispose()
    with pytest.raises(StoreError) as caught:
        open_database(database_place)
    assert caught.value.code == "database.newer"


def test_a_step_changes_an_older_table_once_and_passes_over_one_that_is_not_there(things: Engine) -> None:
    steps = [
        *STEPS,
        Step("things", "a second count", lambda c: c.exec_driver_sql("ALTER TABLE things ADD COLUMN more INTEGER")),
        Step("elsewhere", "never made here", lambda c: c.exec_driver_sql("ALTER TABLE elsewhere ADD COLUMN more INT")),
    ]
    for _ in range(2):
        with writing(things) as connection:
            migrate(connection, steps)
            assert version_of(connection) == 1 + len(steps)
            connection.exec_driver_sql("UPDATE things SET more = 1")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "malan.db"
    file.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError) as caught:
        open_database(file)
    assert caught.value.code == "database.unusable"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://malan:{SECRET}@127.0.0.1:1/x",
        f"postgresql://malan@127.0.0.1:1/x?password={SECRET}",
        f"postgresql://malan@127.0.0.1:1/x?no_such_option=1&sslpassword={SECRET}",
        f"postgresql://malan:{SECRET}@x@127.0.0.1:1/x",
        f"postgresql://malan:x@{SECRET}:y@127.0.0.1:notaport/x",
        f"mysql://malan:{SECRET}@127.0.0.1/x",
        f"sqlite:///x.db?password={SECRET}",
        f"://{SECRET}",
    ],
)
def test_no_message_log_or_traceback_tells_a_password(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises((StoreError, UsageError)) as caught:
        open_database(url)
    words = [caught.value.message(lang) + caught.value.hint(lang) for lang in ("en", "zh")]
    assert SECRET not in "".join([*words, caplog.text, repr(caught.value), str(caught.value.values)])


def test_a_place_is_shown_without_user_and_parameters(database: Engine) -> None:
    shown = shown_place(database)
    assert shown.endswith("malan.db") or shown.startswith("postgresql://localhost/t")


def test_a_workspace_keeps_its_records_where_its_settings_say(workspace: Workspace) -> None:
    assert workspace.jobs.create("asset.scan", {}).state == "queued"
    assert not (workspace.root / "malan.db").exists()


def test_the_setting_of_the_database_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "malan.toml").write_text(f'database = "postgresql://malan:{SECRET}@h/x\\u0007"\n')
    with pytest.raises(UsageError) as caught:
        Workspace(tmp_path)
    assert SECRET not in str(caught.value)
    (tmp_path / "malan.toml").write_text(f'database = "postgresql://malan:{SECRET}@h/x"\n')
    assert SECRET not in repr(Workspace(tmp_path).settings)
