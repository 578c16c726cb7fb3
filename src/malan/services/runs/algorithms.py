"""Algorithms on record: submitted by a buyer, stored under their digest, never changed; and who may see them.

    folder ─ submit_algorithm ─▶ Algorithm(digest) ─ ask_owners(grant) ─▶ owners see it, and decide (`approvals`)

The algorithms that come with Malan are on record without being submitted. Nothing is run here. Start reading at
`submit_algorithm` and `find_algorithm`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from malan.core.errors import NotFound, Rejected, RetryLater, StoreError, UsageError
from malan.ledger.statement import Input, Subject, urn
from malan.rights.terms import party_id as id_of_name
from malan.runtime.database import add_new, reading, writing
from malan.services.access import ALL, HOUSE, Caller, scope
from malan.services.accounts.acting import acting
from malan.services.files.blobs import keep_bytes, read_blob
from malan.services.footage.owners import owner_names, remember_owner
from malan.services.journal import Fact, record
from malan.services.market.grants import get_grant
from malan.services.runs.algorithm_tables import REQUESTS, VERSIONS, algorithm_tables
from malan.training.package import (
    Package,
    check_folder,
    find_hints,
    pack_files,
    package_of,
    parameter_schema,
    read_package,
    unpack_files,
)
from malan.training.package.diff import settings_of
from malan.training.package.starter import starter_files

if TYPE_CHECKING:
    from malan.workspace import Workspace

OURS = "malan"
"""The publisher of the algorithms that come with Malan; nobody else may call itself so."""

MOST_VERSIONS = 500
RECIPE, RECIPE_DP, CODE = "recipe", "recipe-dp", "code"
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(.*)")


@dataclass(frozen=True)
class Algorithm:
    """One version on record. `party_id` is who submitted it; None for those that come with Malan."""

    digest: str
    name: str
    version: str
    party_id: str | None
    made: str

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def is_built_in(self) -> bool:
        return self.party_id is None


def submit_algorithm(
    ws: Workspace, folder: Path | Mapping[str, bytes], *, grant: str | None = None, caller: Caller = HOUSE
) -> Algorithm:
    """Put a version on record, for good. The same again changes nothing.

    Args:
        ws: Where.
        folder: The package: its folder, or its files.
        grant: Under which it is to run; its owners are asked. The party of the grant submits it, when an operator does
            this for it.
        caller: Who submits.

    Raises:
        UsageError: It is no sound package, or nothing says for whom it is submitted.
        Rejected: It claims another publisher, or its version is taken by other code.
        RetryLater: The party has submitted too much.
        NotFound: There is no such grant.
    """
    party = acting(caller, "algorithms.submit")
    shown = get_grant(ws, grant, caller=caller) if grant else None
    party = party or (shown.grant.party_id if shown else None)
    if party is None:
        raise UsageError("algorithm.whose")
    package = package_of(folder) if isinstance(folder, Mapping) else read_package(folder)
    if package.digest in built_in_digests():
        raise Rejected("algorithm.is_built_in", name=package.reference)
    _check_publisher(ws, package, party)
    found = _keep(ws, package, party)
    if shown is not None:
        ask_owners(ws, package.digest, shown.grant.id, caller=caller)
    _state(ws, package, shown.grant.id if shown else None)
    return found


def ask_owners(ws: Workspace, digest: str, grant: str, *, caller: Caller = HOUSE) -> tuple[str, ...]:
    """Let the owners behind a grant see an algorithm and decide on it; their ids. Twice does no harm.

    Raises:
        NotFound: There is no such grant of the caller's.
    """
    party = acting(caller, "algorithms.submit")
    shown = get_grant(ws, grant, caller=caller)
    if party is not None and party != shown.grant.party_id:
        raise NotFound("grant.none", id=grant[:40])
    row = {"digest": digest, "grant_id": shown.grant.id, "party_id": shown.grant.party_id, "made": _now()}
    owner_ids = tuple(sorted(shown.grant.owner_ids))
    if digest not in built_in_digests():
        with writing(algorithm_tables(ws)) as connection:
            add_new(connection, REQUESTS, [row | {"owner_id": one} for one in owner_ids])
    return owner_ids


def list_algorithms(ws: Workspace, *, caller: Caller = HOUSE) -> list[Algorithm]:
    """What the caller may see: what comes with Malan, its own, and what it was asked about; newest versions first."""
    party = acting(caller, "algorithms.see") if not _sees_all(caller) else None
    ours = [Algorithm(one.digest, one.name, one.version, None, "") for one in built_ins().values()]
    with reading(algorithm_tables(ws)) as connection:
        rows = connection.execute(select(VERSIONS)).all()
        asked = select(REQUESTS.c.digest, REQUESTS.c.party_id).where(REQUESTS.c.owner_id == party)
        seen = {tuple(row) for row in connection.execute(asked)} if party else set()
    sent = [
        Algorithm(row.digest, row.name, row.version, row.party_id, row.made)
        for row in rows
        if party in (None, row.party_id) or (row.digest, row.party_id) in seen
    ]
    sent.sort(key=lambda one: (one.name, _order(one.version), one.made), reverse=True)
    return [*sorted(ours, key=lambda one: one.name), *sorted(sent, key=lambda one: one.name)]


def find_algorithm(ws: Workspace, text: str, *, caller: Caller = HOUSE) -> Algorithm:
    """A version by its digest or the beginning of it, by `name@version`, or the newest of a name.

    Raises:
        NotFound: There is none that the caller may see.
        UsageError: Several are called so.
    """
    wanted = text.strip()
    seen = list_algorithms(ws, caller=caller)
    found = [one for one in seen if len(wanted) >= 6 and one.digest.startswith(wanted.lower())]
    if not found:
        found = [one for one in seen if wanted in (one.name, one.reference)]
        newest: dict[str | None, Algorithm] = {}
        for one in found:
            newest.setdefault(one.party_id, one)
        found = list(newest.values())
    if not found:
        raise NotFound("algorithm.none", text=wanted[:60])
    if len({one.digest for one in found}) > 1:
        raise UsageError("algorithm.ambiguous", text=wanted[:60], digests=", ".join(one.digest[:12] for one in found))
    return found[0]


def load_package(ws: Workspace, digest: str) -> Package:
    """The package of a digest, held against it.

    Raises:
        NotFound: It is not on record.
        ProofError: It is stored as something else than it was.
    """
    if digest in built_in_digests():
        return next(one for one in built_ins().values() if one.digest == digest)
    with reading(algorithm_tables(ws)) as connection:
        blob = connection.scalar(select(VERSIONS.c.blob).where(VERSIONS.c.digest == digest).limit(1))
    if blob is None:
        raise NotFound("algorithm.none", text=digest[:12])
    return package_of(unpack_files(read_blob(ws, blob), digest), reads_code=False)


def get_algorithm(ws: Workspace, text: str, *, caller: Caller = HOUSE) -> Package:
    """The package itself, by whatever `find_algorithm` takes."""
    return load_package(ws, find_algorithm(ws, text, caller=caller).digest)


def tiers_of(package: Package) -> tuple[str, ...]:
    """In which tiers a package can run: ours are recipes, with privacy where they have it; all else is code."""
    if package.digest not in built_in_digests():
        return (CODE,)
    return (RECIPE, RECIPE_DP) if package.privacy else (RECIPE,)


@cache
def built_ins() -> Mapping[str, Package]:
    """The algorithms that come with Malan, by name. Read once: they are part of the program.

    One that is not sound is left out, and hides no other.
    """
    from malan.training.algorithms import builtin_files, builtin_names

    found: dict[str, Package] = {}
    for name in builtin_names():
        with suppress(UsageError):
            found[name] = package_of(builtin_files(name))
    return found


@cache
def built_in_digests() -> frozenset[str]:
    """Their digests: what is called like one of them, but is not it, is none of ours."""
    return frozenset(one.digest for one in built_ins().values())


def describe_algorithm(ws: Workspace, algorithm: Algorithm, *, whole: bool = True, lang: str = "en") -> dict[str, Any]:
    """A version as JSON: the line of a list or, `whole`, everything that it says of itself and asks for."""
    package = load_package(ws, algorithm.digest)
    line: dict[str, Any] = {
        "algorithm": algorithm.digest,
        "name": algorithm.name,
        "version": algorithm.version,
        "publisher": package.publisher,
        "title": dict(package.title),
        "licence": package.licence,
        "tiers": list(tiers_of(package)),
        "built_in": algorithm.is_built_in,
        "submitted_by": _party(ws, algorithm.party_id),
        "made": algorithm.made or None,
    }
    if not whole:
        return line
    return line | {
        "summary": dict(package.summary),
        "settings": settings_of(package),
        "parameters": parameter_schema(package.parameters, lang),
        "files": {path: len(data) for path, data in package.files.items()},
        "size_bytes": package.size_bytes,
        "hints": [one.as_record() for one in find_hints(package.files)],
    }


def new_package(folder: Path, publisher: str) -> tuple[str, ...]:
    """Write a small package that works into a new folder, called like it; the names of its files.

    Raises:
        UsageError: The folder is there already, or nothing can be called so.
        StoreError: It cannot be written there.
    """
    files = starter_files(folder.name, publisher)
    if folder.exists():
        raise UsageError("algorithm.not_empty", path=str(folder))
    try:
        folder.mkdir(parents=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise StoreError("cli.not_written", path=str(folder), detail=error.strerror or str(error)) from error
    return tuple(files)


def check_package(folder: Path) -> dict[str, Any]:
    """What there is to say about a folder before it is submitted."""
    report = check_folder(folder)
    package = report.package
    return {
        "sound": package is not None,
        "algorithm": package.digest if package else None,
        "reference": package.reference if package else None,
        "files": len(package.files) if package else None,
        "size_bytes": package.size_bytes if package else None,
        "problems": [{"code": one.code, "message": one.message(), "hint": one.hint()} for one in report.problems],
        "hints": [one.as_record() for one in report.hints],
    }


def _keep(ws: Workspace, package: Package, party: str) -> Algorithm:
    blob = keep_bytes(ws, pack_files(package.files))
    made = _now()
    row = {
        "digest": package.digest,
        "party_id": party,
        "name": package.name,
        "version": package.version,
        "blob": blob,
        "size_bytes": package.size_bytes,
        "made": made,
    }
    mine = VERSIONS.c.party_id == party
    same = (VERSIONS.c.name == package.name, VERSIONS.c.version == package.version)
    with writing(algorithm_tables(ws), durable=True) as connection:
        stands = connection.execute(select(VERSIONS).where(mine, *same)).one_or_none()
        if stands is not None and stands.digest != package.digest:
            raise Rejected("algorithm.version_taken", reference=package.reference, digest=stands.digest[:12])
        count = connection.scalar(select(func.count()).select_from(VERSIONS).where(mine)) or 0
        if stands is None and count >= MOST_VERSIONS:
            raise RetryLater("algorithm.too_many_versions", most=MOST_VERSIONS)
        add_new(connection, VERSIONS, row)
    return Algorithm(package.digest, package.name, package.version, party, stands.made if stands else made)


def _check_publisher(ws: Workspace, package: Package, party: str) -> None:
    """Nobody publishes in another's name."""
    if id_of_name(package.publisher) != party or id_of_name(package.publisher) == id_of_name(OURS):
        name = owner_names(ws).get(party, party[:12])
        raise Rejected("algorithm.not_publisher", publisher=package.publisher, name=name)
    remember_owner(ws, package.publisher)


def _state(ws: Workspace, package: Package, grant_id: str | None) -> None:
    inputs = (Input(urn("grant", grant_id), grant_id, "about"),) if grant_id else ()
    fact = Fact(
        "algorithm.submit",
        (algorithm_subject(package.digest),),
        "algorithm.submit",
        inputs=inputs,
        facts={"files": len(package.files), "size": package.size_bytes},
        private={"name": package.reference, "publisher": package.publisher},
    )
    record(ws, [fact])


def algorithm_subject(digest: str) -> Subject:
    """An algorithm as the subject of an event."""
    return Subject(urn("algorithm", digest), digest)


def versions_of(algorithms: Sequence[Algorithm], one: Algorithm) -> list[Algorithm]:
    """The other versions of the same name by the same party that came before it, the newest first."""
    same = [each for each in algorithms if (each.party_id, each.name) == (one.party_id, one.name)]
    older = [each for each in same if each.digest != one.digest and each.made <= one.made]
    return sorted(older, key=lambda each: (each.made, _order(each.version)), reverse=True)


def _sees_all(caller: Caller) -> bool:
    return scope(caller, "algorithms.see") == ALL


def _party(ws: Workspace, party_id: str | None) -> dict[str, str] | None:
    return None if party_id is None else {"id": party_id, "name": owner_names(ws).get(party_id, party_id[:12])}


def _order(version: str) -> tuple[int, int, int, bool, str]:
    match = _VERSION.fullmatch(version)
    major, minor, patch, rest = match.groups() if match else ("0", "0", "0", version)
    return int(major), int(minor), int(patch), not rest, rest


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
