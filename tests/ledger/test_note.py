"""Signed notes against the published examples, and with every byte changed."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malan.core.errors import ProofError, UsageError
from malan.ledger.note import LARGEST_NOTE_BYTES, Note, NoteSigner, NoteVerifier, open_note, sign_note

# The example of golang.org/x/mod/sumdb/note.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_PRIVATE = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
BOTH = f"{TEXT}\n{PETER_LINE}{ENOCH_LINE}".encode()

# The example of the C2SP specification of verifier keys.
SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()


def test_the_go_example_is_signed_byte_for_byte() -> None:
    signer = NoteSigner.from_private("PeterNeumann", PETER_PRIVATE)
    assert signer.vkey == PETER
    assert sign_note(TEXT, [signer]) == f"{TEXT}\n{PETER_LINE}".encode()


@pytest.mark.parametrize(("key", "name"), [(PETER, "PeterNeumann"), (ENOCH, "EnochRoot")])
def test_the_go_example_opens_with_either_key(key: str, name: str) -> None:
    note = open_note(BOTH, [NoteVerifier.parse(key)])
    assert (note.text, note.verified, note.to_bytes()) == (TEXT, (name,), BOTH)


def test_the_go_example_opens_with_both_keys() -> None:
    assert open_note(BOTH, map(NoteVerifier.parse, (ENOCH, PETER))).verified == ("PeterNeumann", "EnochRoot")


def test_the_example_of_the_specification_opens() -> None:
    assert open_note(SPEC_NOTE, [NoteVerifier.parse(SPEC_KEY)]).text == "This is an example message.\n"


def test_every_mangled_verifier_key_is_refused() -> None:
    wrong = [PETER[:end] for end in range(len(PETER))] + [PETER[start:] for start in range(1, len(PETER))]
    wrong += [PETER[:i] + chr(ord(c) + 1) + PETER[i + 1 :] for i, c in enumerate(PETER)]
    wrong += [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        PETER.upper(),
        PETER + "\n",
        " " + PETER,
    ]
    for key in wrong:
        with pytest.raises(UsageError):
            NoteVerifier.parse(key)


@settings(deadline=None)
@given(st.integers(0, len(BOTH) - 1), st.integers(1, 255))
def test_one_changed_byte_is_always_found(position: int, flip: int) -> None:
    changed = bytearray(BOTH)
    changed[position] ^= flip
    try:
        note = open_note(bytes(changed), map(NoteVerifier.parse, (PETER, ENOCH)))
    except ProofError:
        return
    assert (note.text, len(note.verified)) == (TEXT, 1)  # that line now names a key nobody knows: it counts no more


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_garbage_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ProofError):
        open_note(data, [NoteVerifier.parse(PETER)])


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=200), st.integers(1, 4))
def test_what_is_signed_is_what_opens(text: str, count: int) -> None:
    signers = [NoteSigner.generate(f"例.example/{i}") for i in range(count)]
    whole = sign_note(text + "\n\n" + text + "\n", signers)
    assert open_note(whole, [s.verifier for s in signers]).text == text + "\n\n" + text + "\n"


def test_a_signature_of_an_unknown_key_is_carried_but_not_believed() -> None:
    note = open_note(BOTH, [NoteVerifier.parse(PETER)])
    assert [signature.name for signature in note.signatures] == ["PeterNeumann", "EnochRoot"]
    assert note.verified == ("PeterNeumann",)


def test_same_name_with_another_key_counts_as_unknown() -> None:
    with pytest.raises(ProofError) as refused:
        open_note(BOTH, [NoteSigner.generate("PeterNeumann").verifier])
    assert refused.value.code == "note.unverified"


def test_a_wrong_signature_of_a_known_key_spoils_a_note_that_another_key_signed() -> None:
    wrong = BOTH.decode().replace("ZJkuBS", "ZJkuBT", 1).encode()
    with pytest.raises(ProofError) as refused:
        open_note(wrong, map(NoteVerifier.parse, (PETER, ENOCH)))
    assert refused.value.code == "note.bad_signature"
    assert refused.value.values["name"] == "PeterNeumann"


def test_sixteen_signatures_are_read_and_endless_ones_are_not() -> None:
    signers = [NoteSigner.generate(f"w{i}") for i in range(16)]
    data = sign_note("a\n", signers)
    assert len(open_note(data, [s.verifier for s in signers]).verified) == 16
    with pytest.raises(ProofError, match="signature lines"):
        open_note(data + signers[0].sign("a\n").encode() * 49, [signers[0].verifier])
    with pytest.raises(ProofError, match="bytes"):
        open_note(b"a" * LARGEST_NOTE_BYTES + data, [signers[0].verifier])


def test_a_signature_of_one_byte_is_a_signature_of_somebody() -> None:
    signer = NoteSigner.generate("w")
    data = "a\n\n— x AAAAAAA=\n".encode() + signer.sign("a\n").encode()
    assert [len(line.signature) for line in open_note(data, [signer.verifier]).signatures] == [1, 64]


def test_as_many_signatures_and_bytes_as_are_read_are_read() -> None:
    signer = NoteSigner.generate("w")
    assert open_note(sign_note("a\n", [signer] * 64), [signer.verifier])
    room = LARGEST_NOTE_BYTES - len(sign_note("\n", [signer]))
    data = sign_note("a" * room + "\n", [signer])
    assert len(data) == LARGEST_NOTE_BYTES
    assert open_note(data, [signer.verifier])
    assert NoteSigner.generate("x" * 255)


def test_the_same_line_twice_is_one_signature() -> None:
    signer = NoteSigner.generate("w")
    assert open_note(sign_note("a\n", [signer, signer]), [signer.verifier]).verified == ("w",)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"text\n", "note.no_signatures"),
        (b"text\n\n", "note.no_signatures"),
        ("text\n\n— a AAAAAAA=".encode(), "note.no_signatures"),
        (b"text\r\n\n", "note.control_character"),
        (b"te\xffxt\n\n", "note.encoding"),
        (b"text\n\n- a AAAAAAA=\n", "note.signature_line"),
        (b"text\n\na AAAAAAA=\n", "note.signature_line"),
        ("text\n\n— a\n".encode(), "note.signature_line"),
        ("text\n\n— AAAAAAA=\n".encode(), "note.signature_line"),
        ("text\n\n— a !AAAAAA=\n".encode(), "note.signature_line"),
        ("text\n\n— a  AAAAAAA=\n".encode(), "note.signature_line"),
        ("text\n\n— a AAAAAAA\n".encode(), "note.signature_line"),
        ("text\n\n— a AAAAAAB=\n".encode(), "note.signature_line"),
        ("text\n\n— a AAAAAA==\n".encode(), "note.signature_line"),
        ("text\n\n— a+b AAAAAAA=\n".encode(), "note.signature_line"),
        ("text\n\n— a\u3000b AAAAAAA=\n".encode(), "note.signature_line"),
        ("text\n\n— a AAAAAAA=\nmore\n".encode(), "note.signature_line"),
    ],
)
def test_a_malformed_note_is_refused_with_its_reason(data: bytes, code: str) -> None:
    with pytest.raises(ProofError) as refused:
        open_note(data, [NoteVerifier.parse(PETER)])
    assert refused.value.code == code


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\tb", "a\nb", "a\u00a0b", "a\u2003b", "x" * 256, "\ud800"])
def test_a_name_no_line_can_carry_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        NoteSigner.generate(name)


@pytest.mark.parametrize("text", ["", "no end", "bell\x07\n"])
def test_a_text_no_note_can_hold_is_not_signed(text: str) -> None:
    with pytest.raises(UsageError):
        sign_note(text, [NoteSigner.generate("a")])


def test_a_secret_key_never_shows() -> None:
    signer = NoteSigner.from_private("PeterNeumann", PETER_PRIVATE)
    assert PETER in repr(signer)
    assert base64.b64encode(PETER_PRIVATE).decode() not in repr(signer)
    assert PETER_PRIVATE.hex() not in repr(signer)


def test_a_note_that_was_only_parsed_lists_nobody_as_verified() -> None:
    assert Note("a\n", ()).verified == ()
