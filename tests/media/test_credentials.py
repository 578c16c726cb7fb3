"""Content Credentials: signed last, read back in three verdicts, never over the network, whatever the bytes are."""

from __future__ import annotations

import dataclasses
import http.server
import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from media_factory import draw_film

from malan.core import Span
from malan.core.errors import MediaError, ProofError, UsageError
from malan.media.credentials import (
    WORKER_MEMORY_BYTES,
    Action,
    Chain,
    Credential,
    Ingredient,
    SourceType,
    has_credential,
    new_chain,
    read_credential,
    sign_media,
)
from malan.media.credentials.native import context, library
from malan.media.credentials.presence import embedded_bytes
from malan.runtime.limits import Limits
from malan.runtime.pool import Task, WorkerPool

FILMS = ("film.mp4", "film.mov", "film.avi", "film.m4v")
SOUNDS = ("sound.m4a", "sound.mp3", "sound.wav", "sound.flac")
PICTURES = ("picture.jpg", "picture.png", "picture.webp")
PROMO = Credential("预告片", "马栏影业", SourceType.AI_COMPOSITE)


@pytest.fixture(scope="module")
def chain() -> Chain:
    return new_chain("马栏影业")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small file of each carrier, made by ffmpeg from one drawn film."""
    from imageio_ffmpeg import get_ffmpeg_exe

    folder = tmp_path_factory.mktemp("carriers")
    film = draw_film(folder / "film.mp4", (12,), audio=True).path
    for name in (*FILMS[1:], *SOUNDS, *PICTURES, "film.mkv"):
        one = ["-frames:v", "1"] if name in PICTURES else ["-vn"] if name in SOUNDS else []
        subprocess.run([get_ffmpeg_exe(), "-v", "error", "-i", film, *one, folder / name], check=True)
    return folder


@pytest.fixture(scope="module")
def signed(media: Path, chain: Chain) -> Path:
    """A signed film that is only read or copied."""
    return sign_media(media / "film.mp4", media / "signed.mp4", chain, PROMO).path


# The chain


def test_our_chain_is_accepted_and_trusted_under_its_root(signed: Path, chain: Chain) -> None:
    report = read_credential(signed, (chain.root_pem,))
    assert (report.state, report.problems, report.signer) == ("trusted", (), "马栏影业")


def test_the_key_does_not_show_when_a_chain_is_printed(chain: Chain) -> None:
    assert "PRIVATE" not in repr(chain)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 57])
def test_a_name_no_certificate_can_carry_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        new_chain(name)


def test_another_root_makes_the_signer_unknown_not_the_file_broken(signed: Path) -> None:
    report = read_credential(signed, (new_chain("某公司").root_pem,))
    assert (report.state, [p.code for p in report.problems]) == ("valid", ["signingCredential.untrusted"])


def test_several_anchors_are_tried(signed: Path, chain: Chain) -> None:
    assert read_credential(signed, (new_chain("某公司").root_pem, chain.root_pem)).state == "trusted"


def test_without_anchors_every_signer_is_unknown(signed: Path) -> None:
    assert read_credential(signed).state == "valid"


def test_an_ended_certificate_cannot_sign(media: Path, tmp_path: Path) -> None:
    ended = new_chain("旧机构", now=datetime.now(UTC) - timedelta(days=800), years=1)
    with pytest.raises((MediaError, ProofError)):
        sign_media(media / "film.mp4", tmp_path / "out.mp4", ended, PROMO)
    assert list(tmp_path.iterdir()) == []


def test_a_credential_ends_with_its_certificate() -> None:
    path = Path(__file__).with_name("expired.jpg")
    report = read_credential(path, (path.with_suffix(".pem").read_text(),))
    assert report.state == "invalid"
    assert "signingCredential.expired" in {problem.code for problem in report.problems}
    assert report.title == "过期"


def test_a_root_that_did_not_issue_the_leaf_is_found_when_reading_back(
    media: Path, tmp_path: Path, chain: Chain
) -> None:
    mixed = dataclasses.replace(chain, root_pem=new_chain("别家").root_pem)
    with pytest.raises(ProofError):
        sign_media(media / "film.mp4", tmp_path / "out.mp4", mixed, PROMO)
    assert list(tmp_path.iterdir()) == []


# Every carrier


@pytest.mark.parametrize("name", [*FILMS, *SOUNDS, *PICTURES])
def test_every_carrier_is_signed_and_read_back(media: Path, tmp_path: Path, chain: Chain, name: str) -> None:
    done = sign_media(media / name, tmp_path / name, chain, PROMO)
    assert not has_credential(media / name)
    assert has_credential(done.path)
    report = read_credential(done.path, (chain.root_pem,))
    assert (report.state, report.title, report.manifest_id) == ("trusted", "预告片", done.manifest_id)


@pytest.mark.parametrize("name", [*FILMS, *SOUNDS, *PICTURES])
def test_a_byte_changed_in_the_content_of_any_carrier_is_found(
    media: Path, tmp_path: Path, chain: Chain, name: str
) -> None:
    path = sign_media(media / name, tmp_path / name, chain, PROMO).path
    content = bytearray(path.read_bytes())
    content[_inside_content(content)] ^= 1
    path.write_bytes(content)
    assert read_credential(path, (chain.root_pem,)).state == "invalid"


def _inside_content(content: bytearray) -> int:
    """A place in the payload, far from the manifest store."""
    store = content.find(b"c2pa")
    return len(content) * 3 // 4 if store < len(content) // 2 else len(content) // 4


def test_a_container_without_a_place_for_it_is_refused(media: Path, tmp_path: Path, chain: Chain) -> None:
    with pytest.raises(UsageError) as caught:
        sign_media(media / "film.mkv", tmp_path / "out.mkv", chain, PROMO)
    assert caught.value.code == "credentials.no_carrier"


def test_signing_does_not_convert(media: Path, tmp_path: Path, chain: Chain) -> None:
    with pytest.raises(UsageError) as caught:
        sign_media(media / "film.mp4", tmp_path / "out.mov", chain, PROMO)
    assert caught.value.code == "credentials.other_kind"


def test_a_file_may_be_signed_in_place(media: Path, tmp_path: Path, chain: Chain) -> None:
    path = Path(shutil.copy(media / "film.mp4", tmp_path))
    assert sign_media(path, path, chain, PROMO).path == path
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def test_the_packets_of_a_signed_film_are_those_of_its_source(media: Path, signed: Path) -> None:
    assert _packets(signed) == _packets(media / "film.mp4")


def _packets(path: Path) -> list[bytes]:
    import av

    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux() if packet.size]


# What it says


def test_what_was_said_is_read_again(media: Path, tmp_path: Path, chain: Chain) -> None:
    said = Credential(
        title="夜城航拍",
        producer="马栏影业",
        source_type=SourceType.AI_GENERATED,
        actions=(Action("c2pa.edited", "剪辑"),),
        ingredients=(
            Ingredient(
                "海上日落.mov", "inputTo", digest="sha256:" + "ab" * 32, span=Span(1250, 1820, Fraction(1, 100))
            ),
            Ingredient("片头", "componentOf", path=media / "film.mov"),
        ),
        training_mining={"ai_generative_training": "notAllowed", "data_mining": "constrained"},
        disclosure={"modelType": "c2pa.types.model"},
        assertions={"org.malan.intent": {"event": "0192-7c", "receipt": ["a", "b"]}},
    )
    report = sign_media(media / "film.mp4", tmp_path / "out.mp4", chain, said).report
    assert (report.title, report.producer, report.generator) == ("夜城航拍", "马栏影业", "Malan")
    assert report.actions == ("c2pa.created", "c2pa.placed", "c2pa.edited")
    assert report.source_types == ("trainedAlgorithmicMedia",)
    assert report.ai_generated
    footage, opening = report.ingredients
    assert (footage.relation, footage.digest, footage.start_s, footage.end_s) == (
        *("inputTo", "sha256:" + "ab" * 32),
        *("12.5", "18.2"),
    )
    assert (opening.title, opening.relation, opening.has_credential) == ("片头", "componentOf", False)
    assert report.training_mining == {"ai_generative_training": "notAllowed", "data_mining": "constrained"}
    assert report.assertions["org.malan.intent"] == {"event": "0192-7c", "receipt": ["a", "b"]}


def test_captured_footage_is_not_called_ai(media: Path, tmp_path: Path, chain: Chain) -> None:
    captured = Credential("采访", "马栏影业", SourceType.CAPTURED)
    assert not sign_media(media / "film.mp4", tmp_path / "out.mp4", chain, captured).report.ai_generated


def test_a_film_with_an_ai_component_is_found_and_keeps_its_stricter_word(
    media: Path, tmp_path: Path, chain: Chain
) -> None:
    part = dataclasses.replace(PROMO, training_mining={"ai_training": "notAllowed"})
    clip = sign_media(media / "film.mp4", tmp_path / "clip.mp4", chain, part).path
    whole = Credential(
        "成片", "马栏影业", SourceType.EDITED_BY_PEOPLE, ingredients=(Ingredient("clip", "componentOf", path=clip),),
        training_mining={"ai_training": "allowed"},
    )  # fmt: skip
    report = sign_media(media / "film.mov", tmp_path / "whole.mov", chain, whole).report
    assert report.ai_generated
    assert report.training_mining == {"ai_training": "notAllowed"}
    assert report.manifest_count == 2


def test_a_word_nobody_knows_counts_as_not_allowed(media: Path, tmp_path: Path, chain: Chain) -> None:
    path = tmp_path / "film.mp4"
    entries = {"cawg.ai_inference": {"use": "perhaps"}, "cawg.data_mining": "yes"}
    _sign_raw(media / "film.mp4", path, chain, [{"label": "cawg.training-mining", "data": {"entries": entries}}])
    assert read_credential(path).training_mining == {"ai_inference": "notAllowed", "data_mining": "notAllowed"}


def test_the_older_assertion_is_understood(media: Path, tmp_path: Path, chain: Chain) -> None:
    path = tmp_path / "film.mp4"
    entries = {"c2pa.ai_training": {"use": "allowed"}}
    _sign_raw(media / "film.mp4", path, chain, [{"label": "c2pa.training-mining", "data": {"entries": entries}}])
    assert read_credential(path).training_mining == {"ai_training": "allowed"}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Ingredient("x", "inputTo"),
        lambda: dataclasses.replace(PROMO, training_mining={"everything": "allowed"}),
        lambda: dataclasses.replace(PROMO, training_mining={"data_mining": "sure"}),
        lambda: dataclasses.replace(PROMO, assertions={"c2pa.actions": {}}),
        lambda: dataclasses.replace(
            PROMO, ingredients=tuple(Ingredient(n, "parentOf", digest="sha256:00") for n in "ab")
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(wrong: Any) -> None:
    with pytest.raises(UsageError):
        wrong()


# Published again


def test_a_later_byte_breaks_the_credential_and_a_new_one_names_its_parent(
    media: Path, tmp_path: Path, chain: Chain
) -> None:
    published = sign_media(media / "film.mp4", tmp_path / "published.mp4", chain, PROMO).path
    relabelled = tmp_path / "relabelled.mp4"
    relabelled.write_bytes(published.read_bytes() + _free_box(b"AIGC: another propagator"))
    assert read_credential(relabelled, (chain.root_pem,)).state == "invalid"

    parent = Ingredient("published", "parentOf", path=published)
    again = dataclasses.replace(PROMO, ingredients=(parent,), actions=(Action("c2pa.published"),))
    report = sign_media(relabelled, relabelled, chain, again).report
    assert (report.state, report.manifest_count) == ("trusted", 2)
    assert report.actions == ("c2pa.opened", "c2pa.published")
    assert [(i.relation, i.has_credential) for i in report.ingredients] == [("parentOf", True)]
    assert b"another propagator" in relabelled.read_bytes()


def test_a_parent_may_be_named_by_its_digest_and_an_ai_edit_of_it_is_told(
    media: Path, tmp_path: Path, chain: Chain
) -> None:
    parent = Ingredient("母版", "parentOf", digest="sha256:" + "ab" * 32, span=Span(0, 10, Fraction(1)))
    model = Ingredient("修复模型", "inputTo", digest="sha256:" + "cd" * 32)
    said = Credential("修复版", "马栏影业", SourceType.AI_ENHANCED, ingredients=(parent, model))
    report = sign_media(media / "film.mp4", tmp_path / "out.mp4", chain, said).report
    assert (report.state, report.actions) == ("trusted", ("c2pa.opened", "c2pa.edited"))
    assert report.ai_generated
    assert {i.relation for i in report.ingredients} == {"parentOf", "inputTo"}


def _free_box(content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + b"free" + content


def test_not_even_a_free_box_may_change(media: Path, tmp_path: Path, chain: Chain) -> None:
    source = tmp_path / "film.mp4"
    source.write_bytes((media / "film.mp4").read_bytes() + _free_box(b"nothing here"))
    path = sign_media(source, source, chain, PROMO).path
    path.write_bytes(path.read_bytes().replace(b"nothing here", b"a secret one"))
    assert read_credential(path, (chain.root_pem,)).state == "invalid"


# Never over the network


class _Server(http.server.BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    handler = type("Handler", (_Server,), {"asked": []})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}", handler.asked
        web.shutdown()
        thread.join()


def test_a_manifest_elsewhere_is_not_fetched(
    media: Path, tmp_path: Path, chain: Chain, server: tuple[str, list[str]]
) -> None:
    address, asked = server
    path = tmp_path / "picture.jpg"
    _sign_raw(media / "picture.jpg", path, chain, [], remote=f"{address}/m.c2pa")
    with pytest.raises(library().C2paError), path.open("rb") as file:  # the library's own way does ask
        library().Reader("image/jpeg", file)
    assert asked == ["/m.c2pa"]
    assert read_credential(path).state == "absent"
    with path.open("rb") as file, context(()) as local, pytest.raises(library().C2paError):
        library().Reader("image/jpeg", file, context=local)
    assert asked == ["/m.c2pa"]


def test_neither_signing_nor_reading_asks_whether_a_certificate_was_revoked(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, list[str]]
) -> None:
    from cryptography import x509
    from cryptography.x509.oid import AuthorityInformationAccessOID

    from malan.media.credentials import chain as module

    address, asked = server
    where = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(address))
    blank = module._blank
    monkeypatch.setattr(
        module, "_blank", lambda *a: blank(*a).add_extension(x509.AuthorityInformationAccess([where]), critical=False)
    )
    named = new_chain("有吊销地址")
    path = sign_media(media / "film.mp4", tmp_path / "out.mp4", named, PROMO).path
    assert read_credential(path, (named.root_pem,)).state == "trusted"
    assert asked == []


# Hostile files


def test_a_flipped_byte_breaks_the_credential_or_says_nothing(signed: Path, tmp_path: Path, chain: Chain) -> None:
    """What no signature covers is padding, names of boxes and the brands of the file: none of it is a statement."""
    good, path = signed.read_bytes(), tmp_path / "film.mp4"
    whole, start = read_credential(signed, (chain.root_pem,)), good.find(b"jumb") - 4
    end = start + int.from_bytes(good[start : start + 4], "big")
    rng, states = random.Random(3), []
    for place in [*rng.sample(range(start, end), 120), *rng.sample(range(end, len(good)), 40)]:
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x20]) + good[place + 1 :])
        report = read_credential(path, (chain.root_pem,))
        assert report == whole if place < end and report.state == "trusted" else report.state == "invalid"
        states.append(report.state)
    assert states[120:] == ["invalid"] * 40
    assert states.count("invalid") > 100


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_never_trusted(signed: Path, tmp_path: Path, chain: Chain, share: float) -> None:
    good, path = signed.read_bytes(), tmp_path / "film.mp4"
    path.write_bytes(good[: int(len(good) * share)])
    assert read_credential(path, (chain.root_pem,)).state == "invalid"


def test_a_retagged_store_is_invalid_or_absent_and_never_trusted(signed: Path, tmp_path: Path, chain: Chain) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(signed.read_bytes().replace(b"uuid", b"uuie", 1))
    assert read_credential(path, (chain.root_pem,)).state == "absent"


def test_two_stores_in_one_file_are_invalid(signed: Path, tmp_path: Path, chain: Chain) -> None:
    good, path = signed.read_bytes(), tmp_path / "film.mp4"
    start = good.find(b"uuid") - 4
    box = good[start : start + int.from_bytes(good[start : start + 4], "big")]
    path.write_bytes(good + box)
    assert read_credential(path, (chain.root_pem,)).state == "invalid"


def test_a_store_that_is_too_large_is_not_even_parsed(media: Path, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes((media / "film.mp4").read_bytes())
    with path.open("ab") as file:
        file.write((1 << 28).to_bytes(4, "big") + b"uuid" + bytes.fromhex("d8fec3d61b0e483c92975828877ec481"))
        file.truncate(file.tell() + (1 << 28) - 24)
    assert [p.code for p in read_credential(path).problems] == ["credentials.oversize"]


@pytest.mark.parametrize("name", [FILMS[0], SOUNDS[1], SOUNDS[2], *PICTURES])
def test_rubbish_behind_any_header_does_no_harm(media: Path, tmp_path: Path, name: str) -> None:
    path, rng = tmp_path / name, random.Random(5)
    for _ in range(20):
        path.write_bytes((media / name).read_bytes()[:40] + rng.randbytes(400))
        has_credential(path)
        assert read_credential(path).state in ("absent", "invalid")


def test_a_side_car_speaks_for_the_file_beside_it(signed: Path, media: Path, tmp_path: Path, chain: Chain) -> None:
    path, beside = tmp_path / "film.mp4", tmp_path / "film.c2pa"
    shutil.copy(media / "film.mp4", path)
    _sign_raw(media / "film.mp4", tmp_path / "other.mp4", chain, [], beside=beside)
    assert has_credential(path)
    assert read_credential(path, (chain.root_pem,)).state == "trusted"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert read_credential(path, (chain.root_pem,)).state == "invalid"
    beside.write_bytes(b"rubbish")
    assert read_credential(path, (chain.root_pem,)).state == "invalid"


def test_what_a_stranger_wrote_is_one_short_line(media: Path, tmp_path: Path, chain: Chain) -> None:
    said = dataclasses.replace(PROMO, title="a\x1b[2J\n" + "长" * 5000)
    report = sign_media(media / "film.mp4", tmp_path / "out.mp4", chain, said).report
    assert len(report.title) <= 500
    assert report.title.isprintable()


def test_it_runs_in_a_worker_and_comes_back_whole(signed: Path, chain: Chain) -> None:
    task = Task("malan.media.credentials.read:read_credential", (str(signed), (chain.root_pem,)))
    with WorkerPool(1, limits=Limits(memory_bytes=WORKER_MEMORY_BYTES, wall_s=30)) as pool:
        (outcome,) = pool.run([task])
    assert outcome.result() == read_credential(signed, (chain.root_pem,))


def test_presence_reads_headers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    path, taken = tmp_path / "large.mp4", []
    with path.open("wb") as file:
        file.write(b"\0\0\0\x10ftypisom\0\0\0\0" + (1 << 30).to_bytes(4, "big") + b"mdat")
        file.truncate(16 + (1 << 30))
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *a: taken.append(pread(*a)) or taken[-1])
    assert embedded_bytes(path) == 0
    assert sum(map(len, taken)) < 4096


def _sign_raw(
    source: Path, out: Path, chain: Chain, assertions: list[Any], *, remote: str = "", beside: Path | None = None
) -> None:
    """Sign as a stranger might: any assertion, a manifest elsewhere, a side-car."""
    c2pa = library()
    created = {"action": "c2pa.created", "digitalSourceType": str(SourceType.CAPTURED)}
    manifest = {
        "claim_generator_info": [{"name": "stranger"}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}, *assertions],
    }
    info = c2pa.C2paSignerInfo("es256", chain.chain_pem.encode(), chain.key_pem.encode(), None)
    with context((chain.root_pem,)) as local, c2pa.Signer.from_info(info) as signer:
        builder = c2pa.Builder(manifest, context=local)
        if remote:
            builder.set_remote_url(remote)
        if remote or beside:
            builder.set_no_embed()
        kind = {".mp4": "video/mp4", ".jpg": "image/jpeg"}[source.suffix]
        with source.open("rb") as file, out.open("w+b") as target:
            store = builder.sign(signer, kind, file, target)
    if beside:
        beside.write_bytes(store)
