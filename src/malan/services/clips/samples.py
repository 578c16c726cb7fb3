"""Samples that leave by a pull transfer: which clips may, cut when first asked for, counted before they are sent.

    secret of the session ─▶ may this clip leave, today? ─▶ hold ─▶ cut, with credential, logged ─▶ counted ─▶ bytes

A clip leaves when its owner lets anybody look at it, or when both the agreement and its owner's terms let this party
export it, or look at it where samples were offered expressly. Asked at every read, also of what was cut before.
Start at `list_samples` and `open_sample`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core import Clip, Span
from malan.core.errors import NotFound, NotGranted, Rejected, RetryLater
from malan.core.ids import digest_record
from malan.rights.decide import Use, compile_terms
from malan.rights.meter import CLIP_SECONDS, Reservation
from malan.rights.meter_tables import HELD
from malan.rights.terms import party_id
from malan.runtime.limits import MIB, Limits
from malan.runtime.pool import Task, WorkerPool
from malan.services.access import BUYER, Caller
from malan.services.clips.cutting import item_suffix
from malan.services.datasets.freezing import show_snapshot
from malan.services.dsp import words
from malan.services.dsp.contracts import SignedAgreement
from malan.services.exchange.transfers import open_data
from malan.services.footage.owners import terms_of
from malan.services.market.grants import grant_allows, has_grant
from malan.services.market.product_card import MOST_SAMPLES, is_open_to_anybody
from malan.services.settlement.metering import meter, usage_of
from malan.services.uses import is_withdrawn, today

if TYPE_CHECKING:
    from malan.services.dsp.flow import Exchange
    from malan.services.dsp.tables import Process
    from malan.store import AssetRow
    from malan.workspace import Workspace

APP = "exchange.sample"
LONGEST_S = 30  # of a sample; a clip that is longer is shown from its beginning
_DATASET = "urn:malan:snapshot:"
_PATIENCE_S = 5.0  # to wait for others to be cut
_MOST_TRIES = 8  # of one sample in one transfer, whose holds ended without a delivery
_MIME = {".mp4": "video/mp4", ".m4a": "audio/mp4", ".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg"}


@dataclass(frozen=True)
class Sample:
    """A stretch of a clip that may leave, and by which right."""

    clip_id: str
    part: Clip
    asset: AssetRow
    use: str


@dataclass(frozen=True)
class SampleFile:
    """The bytes of a sample, and what they are."""

    path: Path
    mime: str


def list_samples(ex: Exchange, process: Process, agreement: SignedAgreement) -> list[dict[str, Any]]:
    """What may be fetched in a pull transfer today; each with its address, which takes the same secret."""
    if process.details.get("format") != words.HTTP_PULL:
        return []
    return [
        {
            "clip": one.clip_id,
            "fragment": one.part.fragment,
            "seconds": round(float(one.part.span.duration), 3),
            "address": f"{ex.root}/data/{process.pid}/samples/{one.clip_id}",
        }
        for one in _samples(ex.ws, agreement)
    ]


def open_sample(ex: Exchange, pid: str, secret: str, clip_id: str) -> SampleFile:
    """One sample as a file; asked anew at every read. In one transfer it is counted once.

    Raises:
        NotAuthenticated: The secret is not, or no longer, good.
        NotFound: This transfer has no such sample: an invented clip and one that may not leave look the same.
        NotGranted: The agreement has ended, or its meter allows no more.
        RetryLater: What is left is held by others.
    """
    process, agreement = open_data(ex, pid, secret)
    wanted = [] if process.details.get("format") != words.HTTP_PULL else _samples(ex.ws, agreement)
    sample = next((one for one in wanted if one.clip_id == clip_id), None)
    if sample is None:
        raise NotFound("exchange.no_sample", clip=clip_id[:12])
    path = _place(ex.ws, agreement, sample)
    hold = _hold(ex.ws, process, agreement, sample)
    try:
        _made(ex, agreement, sample, path)
        _count(ex.ws, hold, agreement, sample)
    except RetryLater:
        raise  # what is held is for the next try, until its lease ends
    except BaseException:
        meter(ex.ws).release(hold)
        raise
    return SampleFile(path, _MIME[path.suffix])


def cut_one(workspace: str, clip: tuple[str, int, int, int, int, int], use: str, party: str, out: str) -> None:
    """Cut one sample; called in a worker."""
    from malan.services.clips.cutting import Cutter
    from malan.services.outputs.manifests import Source
    from malan.services.outputs.publish import Draft, publish
    from malan.workspace import Workspace

    ws, path = Workspace(Path(workspace)), Path(out)
    asset_id, track, start, end, top, bottom = clip
    part = Clip(asset_id, track, Span(start, end, Fraction(top, bottom)))
    asset = ws.library.asset(asset_id).asset
    source = Source(part, asset.owner_id, asset.terms_id, Fraction(0), part.span.duration)
    draft = Draft(APP, "retrieve", path.name, (source,), use=use)
    publish(ws, draft, lambda bare: Cutter(ws).cut(part, bare), path, caller=_caller(party))


def _made(ex: Exchange, agreement: SignedAgreement, sample: Sample, path: Path) -> None:
    """Have a sample cut, unless it is. One after the other for all partners, so that strangers do not fill this machine
    with work, nor its threads with waiting.

    Raises:
        RetryLater: Others are being cut.
    """
    if path.is_file():
        return
    if not ex.one_at_a_time.acquire(timeout=_PATIENCE_S):
        raise RetryLater("exchange.cutting")
    try:
        if not path.is_file():
            _cut(ex.ws, agreement, sample, path)
    finally:
        ex.one_at_a_time.release()


def _samples(ws: Workspace, agreement: SignedAgreement) -> list[Sample]:
    """The clips of what was agreed on that may leave today, the first `MOST_SAMPLES` of them."""
    snapshot_id = agreement.dataset_id.removeprefix(_DATASET)
    if snapshot_id == agreement.dataset_id:
        return []
    _, manifest = show_snapshot(ws, snapshot_id)
    assets = ws.library.assets_by_id({entry.clip.asset_id for entry in manifest.entries})
    uses = {row.asset.id: _use_of(ws, agreement, row) for row in assets.values() if not is_withdrawn(row)}
    found: list[Sample] = []
    for entry in manifest.entries:
        if (use := uses.get(entry.clip.asset_id)) is not None:
            found.append(Sample(entry.clip.id, _beginning(entry.clip), assets[entry.clip.asset_id], use))
        if len(found) == MOST_SAMPLES:
            break
    return found


def _use_of(ws: Workspace, agreement: SignedAgreement, row: AssetRow) -> str | None:
    """The right by which clips of an asset may leave to this party; None when there is none."""
    terms = terms_of(ws, row.asset.terms_id)
    if is_open_to_anybody(terms):
        return "retrieve"
    party, compiled = party_id(agreement.party), compile_terms(terms)
    is_product = has_grant(ws, agreement.grant_id or "")
    for use in ("export",) if is_product else ("export", "retrieve"):
        owner_allows = compiled.decide(Use(use, today(), party_id=party)).allowed
        agreed = not is_product or grant_allows(ws, agreement.grant_id or "", use, asset_id=row.asset.id).allowed
        if owner_allows and agreed:
            return use
    return None


def _beginning(clip: Clip) -> Clip:
    most = clip.span.start + int(LONGEST_S / clip.span.timebase)
    return replace(clip, span=replace(clip.span, end=min(clip.span.end, most)))


def _place(ws: Workspace, agreement: SignedAgreement, sample: Sample) -> Path:
    """Each agreement has files of its own: what is found elsewhere later can be told apart by its digest."""
    folder = ws.folder("samples") / digest_record("samples", [agreement.party, agreement.id])[:24]
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{sample.clip_id[:32]}{item_suffix(sample.asset.asset)}"


def _hold(ws: Workspace, process: Process, agreement: SignedAgreement, sample: Sample) -> Reservation:
    """The clip-seconds of a sample, held."""
    grant_id, amount = _account(ws, agreement), _amount(ws, agreement, sample)
    for name in _keys(process, sample):
        hold = meter(ws).reserve(grant_id, CLIP_SECONDS, amount, name)
        if hold.state == HELD or hold.used:  # also one that was counted before, and is over
            return hold
    raise Rejected("exchange.sample_tries", clip=sample.clip_id[:12])


def _keys(process: Process, sample: Sample) -> Iterator[str]:
    whole = digest_record("sample", [process.pid, sample.clip_id])
    return (f"sample:{whole[:32]}.{number}" for number in range(_MOST_TRIES))


def _count(ws: Workspace, hold: Reservation, agreement: SignedAgreement, sample: Sample) -> None:
    """Count a sample as it is handed over; later reads in the same transfer are the same delivery."""
    rows = _rows(ws, agreement, sample)
    meter(ws).consume(hold, sum(row.amount for row in rows), rows, key="delivery")


def _amount(ws: Workspace, agreement: SignedAgreement, sample: Sample) -> int:
    return sum(row.amount for row in _rows(ws, agreement, sample))


def _rows(ws: Workspace, agreement: SignedAgreement, sample: Sample) -> list[Any]:
    snapshot_id = agreement.dataset_id.removeprefix(_DATASET)
    work = f"output:sample-{digest_record('sample', [agreement.id, sample.clip_id])[:40]}"
    return usage_of(ws, agreement.grant_id or "", snapshot_id, [sample.part], work=work)


def _account(ws: Workspace, agreement: SignedAgreement) -> str:
    """The account that is counted on. An agreement that is no contract of ours gets one with its owners' limits.

    Raises:
        NotGranted: The agreement has no grant yet.
    """
    grant_id = agreement.grant_id
    if grant_id is None:
        raise NotGranted("exchange.not_in_force", agreement=agreement.id[:100])
    if not has_grant(ws, grant_id) and not meter(ws).accounts(grant_id):
        meter(ws).open(grant_id, {CLIP_SECONDS: _strictest(ws, agreement)})
    return grant_id


def _strictest(ws: Workspace, agreement: SignedAgreement) -> int | None:
    saved, _ = show_snapshot(ws, agreement.dataset_id.removeprefix(_DATASET))
    limits = [terms_of(ws, one).limits.get(CLIP_SECONDS) for one in saved.snapshot.terms_ids]
    return min((most * 1_000_000 for most in limits if most is not None), default=None)


def _cut(ws: Workspace, agreement: SignedAgreement, sample: Sample, path: Path) -> None:
    """Cut a sample in a worker of its own, under the limits of a scan.

    Raises:
        MediaError: It cannot be cut.
    """
    span = sample.part.span
    clip = (sample.part.asset_id, sample.part.track, span.start, span.end, *span.timebase.as_integer_ratio())
    limits = Limits(ws.settings.worker_memory_mb * MIB, float(ws.settings.file_timeout_s))
    task = Task("malan.services.clips.samples:cut_one", (str(ws.root), clip, sample.use, agreement.party, str(path)))
    with WorkerPool(1, limits=limits) as pool, closing(pool.run([task])) as outcomes:
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error


def _caller(party: str) -> Caller:
    return Caller(party_id(party), frozenset({BUYER}), "exchange", name=party)
