"""The command a stranger runs: it needs little, says each step in both languages, and names what failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from event_factory import actor_key, ingest
from log_factory import ANOTHER, KEY, SIGNER, flipped

from malan.core.errors import ProofError
from malan.core.ids import canonical_bytes
from malan.core.merkle import inclusion_proof, leaf_hash, merkle_root
from malan.ledger.envelope import public_key_of, seal
from malan.ledger.log import LogWriter
from malan.ledger.receipt import receipt_for
from malan.ledger.statement import Actor, Statement, Subject, urn
from malan.ledger.verify import main, verify

RECORDS = [{"clip": f"{i:06x}", "owner": "馬"} for i in range(5)]
LEAVES = [leaf_hash(canonical_bytes(record)) for record in RECORDS]
ROOT = merkle_root(LEAVES).hex()


def registration(number: int) -> Statement:
    key = actor_key(number)
    digest = f"{number:064x}"
    return replace(
        ingest(number),
        kind="key.register",
        actor=Actor(key.key_id, "system"),
        subjects=(Subject(urn("key", public_key_of(key.key_id).hex()), digest),),
        facts={"key": key.key_id, "role": "operator"},
    )


def release() -> Statement:
    return replace(
        ingest(7),
        kind="dataset.release",
        subjects=(Subject(urn("snapshot", ROOT), ROOT),),
        facts={"clips": 5, "terms": ["a" * 64], "seed": 1},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0: key 1 registered; 1: a snapshot, by key 1; 2: key 2, only now; 3: no event at all."""
    folder = tmp_path_factory.mktemp("verify") / "log"
    with LogWriter.open(folder, SIGNER) as log:
        one, two = actor_key(1), actor_key(2)
        log.append([seal(registration(1).to_bytes(), [one]), seal(release().to_bytes(), [one])])
        log.append([seal(registration(2).to_bytes(), [two]), b"no event"])
        log.append([seal(replace(registration(3), actor=Actor(one.key_id, "system")).to_bytes(), [one])])
    return folder


def receipt(folder: Path, index: int) -> str:
    return receipt_for(LogWriter.open(folder, SIGNER).reader, index).decode()


@pytest.fixture(scope="module")
def bundle(folder: Path) -> dict[str, Any]:
    proof = [node.hex() for node in inclusion_proof(LEAVES, 3)]
    return {
        "type": "malan-receipt/v1",
        "event": receipt(folder, 1),
        "keys": [receipt(folder, 0)],
        "manifest": {"root": ROOT, "index": 3, "size": 5, "record": RECORDS[3], "proof": proof},
    }


def checked(value: Any) -> Any:
    return verify(json.dumps(value).encode(), [KEY])


def test_a_bundle_proves_the_event_its_key_and_the_record(bundle: dict[str, Any]) -> None:
    said: list[str] = []
    verified = verify(json.dumps(bundle).encode(), [KEY], say=lambda code, values: said.append(code))
    assert verified.event == release()
    assert verified.record == canonical_bytes(RECORDS[3])
    assert said == [
        "verify.checkpoint", "verify.self_attested", "verify.included", "verify.signed", "verify.event",
        "verify.registered", "verify.record", "verify.manifest",
    ]  # fmt: skip


def test_a_manifest_may_bring_its_record_as_the_bytes_that_were_hashed(bundle: dict[str, Any]) -> None:
    manifest = {key: value for key, value in bundle["manifest"].items() if key != "record"}
    manifest["leaf"] = canonical_bytes(RECORDS[3]).decode()
    assert checked({**bundle, "manifest": manifest}).record == canonical_bytes(RECORDS[3])


def test_a_bare_receipt_proves_the_event(folder: Path) -> None:
    assert verify(receipt(folder, 1).encode(), [KEY]).event == release()
    assert verify(receipt(folder, 3).encode(), [KEY]).proved.entry == b"no event"


def changed(bundle: dict[str, Any], **manifest: Any) -> dict[str, Any]:
    return {**bundle, "manifest": {**bundle["manifest"], **manifest}}


def test_what_does_not_hold_is_named(bundle: dict[str, Any], folder: Path) -> None:
    proof = bundle["manifest"]["proof"]
    other = merkle_root(LEAVES[:4]).hex()
    cases = [
        (changed(bundle, record=RECORDS[2]), "proof.root", "manifest"),
        (changed(bundle, index=2), "proof.root", "manifest"),
        (changed(bundle, index=5), "proof.index", "manifest"),
        (changed(bundle, proof=proof[:-1]), "proof.root", "manifest"),
        (changed(bundle, size=4, index=0, record=RECORDS[0], root=other,
                 proof=[node.hex() for node in inclusion_proof(LEAVES[:4], 0)]), "verify.manifest_root", "manifest"),
        ({**bundle, "keys": [receipt(folder, 1)]}, "verify.not_registration", "keys[0]"),
        ({**bundle, "keys": [receipt(folder, 2)]}, "verify.registered_later", "keys[0]"),
        ({**bundle, "keys": [receipt(folder, 4)]}, "verify.not_registration", "keys[0]"),
        ({**bundle, "keys": []}, "verify.unregistered", None),
        ({**bundle, "keys": ["nonsense"]}, "receipt.line", "keys[0]"),
        ({**bundle, "event": receipt(folder, 3)}, "verify.not_event", None),
        ({**bundle, "event": bundle["event"].replace("index 1", "index 2")}, "proof.root", "event"),
    ]  # fmt: skip
    for value, code, part in cases:
        with pytest.raises(ProofError) as error:
            checked(value)
        assert (error.value.code, error.value.values.get("part")) == (code, part)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"type": "malan-receipt/v2"},
        {"type": "malan-receipt/v1"},
        {"type": "malan-receipt/v1", "event": 5},
        {"type": "malan-receipt/v1", "event": "x", "more": 1},
        {"type": "malan-receipt/v1", "event": "x", "keys": "x"},
        {"type": "malan-receipt/v1", "event": "x", "keys": ["x"] * 17},
        {"type": "malan-receipt/v1", "event": "\ud800"},
        {"type": "malan-receipt/v1", "event": "x", "manifest": {}},
        {"type": "malan-receipt/v1", "event": "x", "manifest": {"root": "A" * 64}},
    ],
)
def test_a_bundle_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(ProofError):
        checked(value)


@pytest.mark.parametrize("wrong", [{"index": True}, {"size": 5.0}, {"root": "Z" * 64}, {"proof": ["00"]}, {"proof": 5}])
def test_a_manifest_with_a_field_of_another_kind_is_refused(bundle: dict[str, Any], wrong: dict[str, Any]) -> None:
    with pytest.raises(ProofError, match=f"manifest.{next(iter(wrong))}"):
        checked(changed(bundle, **wrong))


def test_a_key_twice_or_depth_without_end_is_refused(bundle: dict[str, Any]) -> None:
    twice = json.dumps(bundle)[:-1] + ',"type":"malan-receipt/v1"}'
    for text in (twice, '{"type":' * 100_000, "{", "\xff"):
        with pytest.raises(ProofError):
            verify(text.encode("latin-1"), [KEY])
    with pytest.raises(ProofError, match=r"manifest\.record"):
        checked(changed(bundle, record={"a": float("nan")}))


def test_every_changed_byte_of_a_bundle_is_found(bundle: dict[str, Any]) -> None:
    data = canonical_bytes(bundle)
    for at in range(0, len(data), 5):
        with pytest.raises(ProofError):
            verify(flipped(data, at, 1 << at % 7), [KEY])


# The command.


@pytest.fixture
def written(bundle: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "proof.json"
    path.write_text(json.dumps(bundle), "utf-8")
    return path


def test_the_command_says_each_step_in_both_languages(written: Path, capfdbinary: Any) -> None:
    assert main([str(written), "--key", KEY.vkey]) == 0
    text = capfdbinary.readouterr().out.decode()
    assert "✓ Entry 1 is in the log of 5 entries (RFC 6962).\n  第 1 条确在这 5 条的日志中（RFC 6962）。\n" in text
    assert text.endswith("✓ The receipt holds.\n  凭证有效。\n")


def test_the_command_names_what_failed_and_exits_with_four(written: Path, capfdbinary: Any) -> None:
    written.write_bytes(written.read_bytes().replace(b'"index": 3', b'"index": 2'))
    assert main([str(written), "--key", KEY.vkey]) == 4
    text = capfdbinary.readouterr().out.decode()
    assert "✗ manifest: The proof does not lead to the root" in text
    assert "证明没有指向根" in text
    assert main([str(written), "--key", ANOTHER.vkey]) == 4


def test_misuse_exits_with_two(written: Path, tmp_path: Path, capfdbinary: Any) -> None:
    policy = tmp_path / "policy"
    policy.write_text("nonsense\n")
    assert main([str(written)]) == 2
    assert main([str(written), "--key", "nonsense"]) == 2
    assert main([str(tmp_path / "nowhere"), "--key", KEY.vkey]) == 2
    assert main([str(written), "--policy", str(policy)]) == 2
    policy.write_text(f"log {KEY.vkey}\nquorum none\n")
    assert main([str(written), "--policy", str(policy)]) == 0
    with pytest.raises(SystemExit) as error:
        main([])
    assert error.value.code == 2


def test_the_command_runs_with_python_and_cryptography_alone(written: Path, tmp_path: Path) -> None:
    """A path that holds the sources, `cryptography` and nothing else; no site packages, no environment."""
    packages, alone = Path(sysconfig.get_path("platlib")), tmp_path / "alone"
    alone.mkdir()
    for name in ("cryptography", "cffi", "_cffi_backend*"):
        for found in packages.glob(name):
            (alone / found.name).symlink_to(found)
    source = Path(__file__).resolve().parents[2] / "src"
    run = (
        f"import sys, runpy; sys.path += [{str(alone)!r}, {str(source)!r}]; "
        "sys.argv = ['verify', *sys.argv[1:]]; runpy.run_module('malan.ledger.verify', run_name='__main__')"
    )
    command = [sys.executable, "-I", "-S", "-c", run, str(written), "--key", KEY.vkey]
    done = subprocess.run(command, capture_output=True, env={"PATH": os.defpath}, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    assert "凭证有效" in done.stdout.decode()
