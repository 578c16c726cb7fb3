"""Every step of the chain is stated in the log, once, and an exported file leads back to its owner."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from media_factory import draw_film

from malan.core import Asset, Clip, Span
from malan.core.errors import MalanError, NotFound, ProofError, StoreError
from malan.core.ids import digest_bytes
from malan.ledger.note import NoteVerifier, open_note
from malan.ledger.statement import Subject, urn
from malan.rights import load_terms
from malan.rights.terms import party_id
from malan.services.clips.exports import export_clips
from malan.services.clips.where import condition
from malan.services.datasets.freezing import export_snapshot, freeze_snapshot
from malan.services.footage import assets as assets_service
from malan.services.footage import scan as scan_service
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.services.journal import (
    Fact,
    disclosed,
    forget,
    key_subject,
    read_event,
    record,
    record_as,
    register_key,
    start_log,
)
from malan.services.log.facts import asset_registered
from malan.services.log.keys import init_keys, media_chain, rotate_key, show_keys
from malan.services.log.proofs import clip_receipt, event_receipt, output_receipt, write_receipt
from malan.services.log.reading import export_log, list_events, places_of, verify_log
from malan.services.outputs.manifests import Source, log_output, trace_output
from malan.workspace import Workspace

OPTIONS = {"preset": "veryfast", "g": "12"}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for number in range(2):
        draw_film(folder / f"film {number}.mp4", (20, 16), seed=number + 5, options=OPTIONS)
    return folder


@pytest.fixture(scope="module")
def chain(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str, Path]:
    """A workspace in which films were added, scanned, frozen, and one clip exported."""
    ws = Workspace.create(tmp_path_factory.mktemp("chain"))
    add_assets(ws, [films], owner="湖南台")
    scan_assets(ws, captions=False)
    frozen = freeze_snapshot(ws, "all", condition(""))
    clip = next(ws.library.matching(condition(""))).id
    exported = export_clips(ws, [clip], ws.folder("exports"))[0]
    return ws, frozen.saved.snapshot.id, exported.path


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "ws")


def kinds(ws: Workspace) -> list[str]:
    return [shown.event.statement.kind for shown in list_events(ws, last=1000)][::-1]


def test_every_step_of_the_chain_is_one_event(chain):
    ws, _, _ = chain
    assert kinds(ws) == [
        "log.start",
        "key.register",
        "key.register",
        "key.register",
        "asset.ingest",
        "asset.ingest",
        "clip.derive",
        "clip.derive",
        "dataset.release",
        "media.publish",
    ]


def test_registration_is_signed_by_the_owner_too(chain):
    ws, _, _ = chain
    signers = show_keys(ws).keys
    owner = next(key.key_id for key in signers if key.holder == "湖南台")
    assert owner in read_event(ws, places_of(ws, "asset.ingest")[0]).key_ids


def test_doing_it_again_writes_nothing(chain, films):
    ws, _, _ = chain
    before = ws.log.reader.size
    add_assets(ws, [films], owner="湖南台")
    scan_assets(ws, captions=False)
    scan_assets(ws, captions=False, again=True)
    freeze_snapshot(ws, "all", condition(""))
    assert ws.log.reader.size == before


def test_new_terms_are_stated_each_time_they_change(ws, films, tmp_path):
    one, other = tmp_path / "one.toml", tmp_path / "other.toml"
    one.write_text('uses = ["retrieve"]\n')
    other.write_text('uses = ["retrieve", "train"]\n')
    film = films / "film 0.mp4"
    for terms in (one, other, one, other, other):
        add_assets(ws, [film], owner="湖南台", terms=load_terms(terms, "湖南台"))
    assert kinds(ws)[-4:] == ["asset.ingest", "asset.claim", "asset.claim", "asset.claim"]


@pytest.mark.parametrize("service", [assets_service, scan_service])
def test_what_a_killed_run_left_unsaid_is_said_by_the_next(ws, films, monkeypatch, service):
    film = films / "film 0.mp4"
    if service is scan_service:
        add_assets(ws, [film], owner="湖南台")

    def run() -> None:
        add_assets(ws, [film], owner="湖南台") if service is assets_service else scan_assets(ws, captions=False)

    with monkeypatch.context() as patch:
        patch.setattr(service, "record", _fail)
        with pytest.raises(StoreError):
            run()
    run()
    assert kinds(ws)[-1] == ("asset.ingest" if service is assets_service else "clip.derive")
    assert kinds(ws).count(kinds(ws)[-1]) == 1


def _fail(*_: object) -> None:
    raise StoreError("database.unusable", path="log", detail="gone")


def test_an_export_of_a_snapshot_is_stated_with_its_files(chain, tmp_path):
    ws, snapshot, _ = chain
    export_snapshot(ws, snapshot, "edl", tmp_path / "out")
    event = list_events(ws, last=1)[0].event
    assert event.statement.kind == "dataset.export"
    assert event.statement.facts["files"] == sum(1 for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_a_file_leads_back_to_its_owner(chain):
    ws, _, path = chain
    trace = trace_output(ws, str(path))
    source = trace.sources[0]
    assert (source.owner, source.file_name) == ("湖南台", "film 0.mp4") or source.file_name == "film 1.mp4"
    assert read_event(ws, source.ingest_index).statement.subjects[0].sha256 == source.source.clip.asset_id
    assert trace_output(ws, trace.output_id[:12]) == trace


def test_a_changed_file_has_no_way_back(chain, tmp_path):
    ws, _, path = chain
    changed = tmp_path / "changed.mp4"
    changed.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(NotFound, match="published"):
        trace_output(ws, str(changed))


def test_a_changed_list_of_sources_is_found(chain):
    ws, _, path = chain
    root = trace_output(ws, str(path)).sources_root
    blob = ws.root / "blobs" / root[:2] / root
    whole = blob.read_bytes()
    try:
        blob.write_bytes(whole.replace(b'"at":"0"', b'"at":"1"'))
        with pytest.raises(ProofError):
            trace_output(ws, str(path))
        blob.write_bytes(whole[:-5])
        with pytest.raises(ProofError):
            trace_output(ws, str(path))
    finally:
        blob.write_bytes(whole)


def stranger(receipt: bytes, vkey: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "receipt"
    path.write_bytes(receipt)
    command = [sys.executable, "-m", "malan.ledger.verify", str(path), "--key", vkey]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_stranger_checks_that_a_clip_is_in_a_logged_snapshot(chain, tmp_path):
    ws, snapshot, path = chain
    clip = trace_output(ws, str(path)).sources[0].source.clip.id
    vkey = show_keys(ws).vkey
    assert stranger(write_receipt(clip_receipt(ws, snapshot, clip)), vkey, tmp_path).returncode == 0
    assert stranger(write_receipt(output_receipt(ws, str(path), clip)), vkey, tmp_path).returncode == 0
    assert stranger(event_receipt(ws, 4), vkey, tmp_path).returncode == 0


def test_a_stranger_sees_a_receipt_about_another_clip_fail(chain, tmp_path):
    ws, snapshot, path = chain
    clip = trace_output(ws, str(path)).sources[0].source.clip.id
    receipt = clip_receipt(ws, snapshot, clip)
    leaf = json.loads(receipt["manifest"]["leaf"])
    receipt["manifest"]["leaf"] = json.dumps(leaf | {"owner": "0" * 64}, separators=(",", ":"))
    checked = stranger(write_receipt(receipt), show_keys(ws).vkey, tmp_path)
    assert checked.returncode == 4
    assert "manifest" in checked.stdout + checked.stderr


def test_a_clip_that_is_not_in_an_output_cannot_be_proved_to_be(chain):
    ws, _, path = chain
    with pytest.raises(NotFound, match="not in output"):
        output_receipt(ws, str(path), "0" * 64)


def test_the_owners_name_is_in_no_entry_and_can_be_forgotten(chain):
    ws, _, _ = chain
    event = read_event(ws, places_of(ws, "key.register")[-1])
    assert disclosed(ws, event)["name"] == "湖南台"
    forget(ws, event, ["name"])
    assert "name" not in disclosed(ws, event)
    assert [one.field for one in event.statement.commitments] == ["name", "owner"]
    assert verify_log(ws).is_whole
    assert "湖南台".encode() not in b"".join(ws.log.reader.entries(0, ws.log.reader.size))
    with pytest.raises(NotFound):
        forget(ws, event, ["name"])


def test_a_forgotten_datum_is_gone_from_the_files_of_the_database(ws, films):
    if ws.database.dialect.name != "sqlite":
        pytest.skip("looks into the files of SQLite")
    add_assets(ws, [films / "film 0.mp4"], owner="湖南台")
    event = read_event(ws, places_of(ws, "key.register")[-1])
    salt = _salt(ws, event.statement.id)
    forget(ws, event)
    ws.database.dispose()
    assert not any(salt in path.read_bytes() for path in ws.root.glob("malan.db*"))


def _salt(ws: Workspace, event_id: str) -> bytes:
    with ws.database.connect() as connection:
        query = "SELECT salt FROM disclosures WHERE event_id = ? LIMIT 1"
        return connection.exec_driver_sql(query, (event_id,)).scalar_one()


def test_a_disclosed_datum_somebody_changed_is_found(ws, films):
    add_assets(ws, [films / "film 0.mp4"], owner="湖南台")
    event = read_event(ws, places_of(ws, "key.register")[-1])
    with ws.database.begin() as connection:
        connection.exec_driver_sql("UPDATE disclosures SET datum = '\"江苏台\"' WHERE field = 'name'")
    with pytest.raises(ProofError, match="committed"):
        disclosed(ws, event)


def test_an_event_stated_by_a_key_that_is_not_registered_is_found(ws):
    init_keys(ws)
    fact = asset_registered(Asset("ab" * 32, 1, "mp4", Fraction(1), (), "cd" * 32, "ef" * 32))
    stranger = ws.keys.create("witness")
    record_as(ws, fact, stranger, "operator", [stranger])
    with pytest.raises(ProofError, match="not registered"):
        verify_log(ws)


@pytest.mark.parametrize("role", ["system", "operator"])
def test_an_event_stated_by_a_key_that_was_replaced_is_found(ws, role):
    init_keys(ws)
    former = ws.keys.actor(role)
    rotate_key(ws, role)
    fact = asset_registered(Asset("ab" * 32, 1, "mp4", Fraction(1), (), "cd" * 32, "ef" * 32))
    record_as(ws, fact, former, role, [former])
    with pytest.raises(ProofError, match="at this place"):
        verify_log(ws)


def test_nobody_but_the_system_registers_a_key(ws):
    init_keys(ws)
    operator, new = ws.keys.actor("operator"), ws.keys.create("witness")
    fact = Fact("key.register", (key_subject(new.key_id),), "register", facts={"key": new.key_id, "role": "system"})
    record_as(ws, fact, operator, "operator", [operator, new])
    with pytest.raises(ProofError, match="puts the key"):
        verify_log(ws)


def test_footage_its_owner_did_not_sign_for_is_not_traced_to_that_owner(films, tmp_path):
    ws = Workspace.create(tmp_path / "ws")
    add_assets(ws, [films / "film 0.mp4"], owner="湖南台")
    asset = ws.library.assets()[0].asset
    source = Source(
        Clip(asset.id, 0, Span(0, 1, Fraction(1))), party_id("江苏台"), asset.terms_id, Fraction(0), Fraction(1)
    )
    (tmp_path / "out.mp4").write_bytes(b"a film")
    log_output(ws, tmp_path / "out.mp4", app="test", mode="assemble", sources=[source])
    with pytest.raises(ProofError, match="not signed by the key of the owner"):
        trace_output(ws, str(tmp_path / "out.mp4"))


def test_signers_are_shown_by_the_names_of_owners_until_these_are_forgotten(ws, films):
    add_assets(ws, [films / "film 0.mp4"], owner="湖南台")
    rotate_key(ws, "湖南台")
    add_assets(ws, [films / "film 1.mp4"], owner="湖南台")
    for shown in list_events(ws, about="asset.ingest"):
        assert [one.shown for one in shown.signers] == ["operator", "湖南台"]
    forget(ws, read_event(ws, places_of(ws, "key.register")[-1]))
    assert not any(one.holder for shown in list_events(ws) for one in shown.signers)


def test_an_exported_log_is_checked_with_its_key_alone(chain, tmp_path):
    ws, _, _ = chain
    export_log(ws, tmp_path / "copy")
    vkey = (tmp_path / "copy" / "vkey").read_text().strip()
    verified = verify_log(None, tmp_path / "copy", [vkey])
    assert (verified.is_whole, verified.size) == (True, ws.log.reader.size)


def test_a_copy_that_names_another_key_is_refused(chain, tmp_path):
    ws, _, _ = chain
    export_log(ws, tmp_path / "copy")
    vkey = show_keys(ws).vkey
    for said in ("", vkey, f"{vkey}x\n", "\xff"):
        (tmp_path / "copy" / "vkey").write_text(said, "utf-8")
        with pytest.raises(ProofError, match="names another key"):
            verify_log(None, tmp_path / "copy", [vkey])


def test_a_foreign_log_is_not_believed_without_a_key(chain, tmp_path):
    ws, _, _ = chain
    export_log(ws, tmp_path / "copy")
    with pytest.raises(MalanError, match="key you trust"):
        verify_log(None, tmp_path / "copy")


def test_whoever_knows_the_first_key_follows_to_the_third(ws, tmp_path):
    first = init_keys(ws).vkey
    rotate_key(ws, "system")
    rotate_key(ws, "operator")
    third = rotate_key(ws, "system")
    assert third.former != ()
    assert verify_log(ws).is_whole
    export_log(ws, tmp_path / "copy")
    assert verify_log(None, tmp_path / "copy", [first]).is_whole
    (tmp_path / "copy" / "rotations" / "4").unlink()
    assert verify_log(None, tmp_path / "copy", [show_keys(ws).vkey]).is_whole
    with pytest.raises(MalanError):
        verify_log(None, tmp_path / "copy", [first])


def test_any_changed_byte_of_the_receipt_that_hands_over_is_found(ws, tmp_path):
    init_keys(ws)
    rotate_key(ws, "system")
    export_log(ws, tmp_path / "copy")
    path = tmp_path / "copy" / "rotations" / "4"
    vkey, whole = show_keys(ws).vkey, path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ProofError, match="rotations/4"):
            verify_log(None, tmp_path / "copy", [vkey])


def test_an_owner_is_rotated_by_name_and_signs_on(ws, films):
    add_assets(ws, [films / "film 0.mp4"], owner="湖南台")
    rotated = rotate_key(ws, "湖南台")
    add_assets(ws, [films / "film 1.mp4"], owner="湖南台")
    event = read_event(ws, places_of(ws, "asset.ingest")[-1])
    assert rotated.key_id in event.key_ids
    assert verify_log(ws).is_whole


def test_a_rotation_that_was_interrupted_is_taken_up(ws, monkeypatch):
    init_keys(ws)
    with monkeypatch.context() as patch:
        patch.setattr(type(ws.keys), "finish_rotation", _fail)
        with pytest.raises(StoreError):
            rotate_key(ws, "system")
    rotate_key(ws, "system")
    assert kinds(ws).count("key.rotate") == 1
    assert len(show_keys(ws).keys[1].former) == 1
    assert verify_log(ws).is_whole


def test_events_written_while_a_rotation_lay_broken_do_not_harm_it(ws, monkeypatch, tmp_path):
    first = init_keys(ws).vkey
    for broken in ("hand_over", "finish_rotation"):
        with monkeypatch.context() as patch:
            patch.setattr(type(ws.log) if broken == "hand_over" else type(ws.keys), broken, _fail)
            with pytest.raises(StoreError):
                rotate_key(ws, "system")
        start_log(ws)
        register_key(ws, "operator", f"after {broken}")
    assert verify_log(ws).is_whole
    export_log(ws, tmp_path / "copy")
    assert verify_log(None, tmp_path / "copy", [first]).is_whole


def test_whoever_has_the_log_open_follows_a_rotation_by_another(ws, tmp_path):
    init_keys(ws)
    another = Workspace(ws.root)
    register_key(another, "operator", "one")
    rotate_key(ws, "system")
    register_key(another, "operator", "two")
    _, note = another.log.reader.standing()
    assert open_note(note, [NoteVerifier.parse(show_keys(ws).vkey)])
    register_key(ws, "operator", "three")
    assert another.log.reader.size == ws.log.reader.size == 7
    assert verify_log(another).is_whole


def test_threads_of_one_process_go_on_while_keys_are_replaced(ws):
    init_keys(ws)

    def state(number: int) -> None:
        for turn in range(6):
            digest = digest_bytes(f"{number} {turn}".encode())
            subject = Subject(urn("snapshot", digest), digest)
            facts = {"clips": 1, "terms": [], "seed": 0}
            record(ws, [Fact("dataset.release", (subject,), "freeze", facts=facts, private={"name": "x"})])

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(state, number) for number in range(3)]
        jobs += [pool.submit(rotate_key, ws, name) for name in ("system", "operator", "system")]
        for job in jobs:
            job.result(timeout=60)
    assert kinds(ws).count("dataset.release") == 18
    assert verify_log(ws).is_whole


def test_a_key_is_rotated_by_its_name_also_when_an_owner_is_called_so(ws, films):
    add_assets(ws, [films / "film 0.mp4"], owner="operator")
    assert rotate_key(ws, "operator").role == "operator"


def test_a_log_begins_with_its_keys_or_not_at_all(ws, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(type(ws.keys), "actor", _fail)
        with pytest.raises(StoreError):
            init_keys(ws)
    init_keys(ws)
    assert kinds(ws) == ["log.start", "key.register", "key.register"]


def test_what_was_forgotten_cannot_be_forgotten_again(ws, films):
    add_assets(ws, [films / "film 0.mp4"], owner="湖南台")
    event = read_event(ws, places_of(ws, "key.register")[-1])
    assert forget(ws, event) == ["name", "owner"]
    with pytest.raises(NotFound, match="forgotten before"):
        forget(ws, event)


def test_a_log_that_lost_its_keys_is_given_no_others(ws, tmp_path):
    init_keys(ws)
    (ws.root / "keys").rename(tmp_path / "away")
    with pytest.raises(NotFound, match="keys are gone"):
        list_events(Workspace(ws.root))
    (tmp_path / "away").rename(ws.root / "keys")
    assert verify_log(Workspace(ws.root)).is_whole


def test_a_log_is_not_exported_where_nothing_can_be_written(ws, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be copied"):
        export_log(ws, tmp_path / "file" / "copy")


def test_a_chain_that_was_half_written_is_made_anew(ws):
    init_keys(ws)
    (ws.root / "keys" / "media.chain.pem").unlink()
    chain = media_chain(ws)
    assert load_pem_private_key(chain.key_pem.encode(), None).public_key() == _leaf_key(chain.chain_pem)


def _leaf_key(chain_pem: str) -> object:
    return load_pem_x509_certificates(chain_pem.encode())[0].public_key()


def test_private_keys_appear_in_no_public_place(chain):
    ws, _, _ = chain
    secrets = [ws.keys.actor(name).raw() for name in ws.keys.names()]
    public = [path for path in ws.root.rglob("*") if path.is_file() and "keys" not in path.parts]
    for path in public:
        data = path.read_bytes()
        assert not any(secret in data for secret in secrets), path


def test_any_changed_byte_of_a_checkpoint_two_keys_signed_is_found(ws, tmp_path):
    init_keys(ws)
    rotate_key(ws, "system")
    export_log(ws, tmp_path / "copy")
    path, vkey = tmp_path / "copy" / "checkpoint", show_keys(ws).vkey
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ProofError):
            verify_log(None, tmp_path / "copy", [vkey])
