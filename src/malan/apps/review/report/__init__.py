"""Reports people read and keep: HTML that stands alone, JSON, PDF, signature. Start at `write_reports`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.apps.review.report.page import page
from malan.apps.review.report.pictures import add_pictures
from malan.apps.review.report.print import find_browser, print_pdf
from malan.core.errors import ProofError

if TYPE_CHECKING:
    from malan.apps.frame import Work
    from malan.apps.review.episodes import Reviewed
    from malan.services.outputs.signed_reports import SignedReport

__all__ = ["check_signature", "read_report", "write_reports"]

LARGEST = 200_000_000


def write_reports(
    value: dict[str, Any], episodes: Sequence[Reviewed], work: Work, *, language: str, pdf: bool
) -> dict[str, Path]:
    """Write the report in every form; what was written, by form.

    `review.json` is the report itself; the signature is over its bytes, and the other forms name its digest.
    """
    from malan.apps.review.episodes import measured_folder

    pictures = add_pictures(value, episodes, work.out, measured_folder(work))
    files = {"json": work.out / "review.json"}
    data = (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()
    files["json"].write_bytes(data)
    signature = _sign(value, data, work)
    if signature is not None:
        files["signature"] = work.out / "review.sig.json"
        files["signature"].write_bytes(signature)
    files["html"] = work.out / "review.html"
    files["html"].write_text(page(value, pictures, data, signature, language), "utf-8")
    if pdf and find_browser() is not None:
        files["pdf"] = print_pdf(files["html"], work.out / "review.pdf", language)
    return files


def read_report(path: Path) -> dict[str, Any]:
    """A report as it was written.

    Raises:
        ProofError: It is none.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("too large")
        said = json.loads(path.read_bytes())
        if said["report"] != "malan-review" or not isinstance(said["findings"], list):
            raise ValueError("not a report")
        for one in said["findings"]:
            str(one["mark"]), float(one["start_s"]), str(one["rule"])
        str(said["pack"]["digest"]), str(said["as_of"]), [one["digest"] for one in said["episodes"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProofError("review.report.bad", file=path.name, why=str(error)[:120]) from None
    return dict(said)


def check_signature(path: Path, media: Sequence[Path] = (), key: str | None = None) -> SignedReport:
    """Who signed a report and about which media; the signature and the pictures lie beside it, as they were made.

    Args:
        path: The `review.json`.
        media: Files that must be among the episodes of the report, byte for byte.
        key: The key that must have signed; without it, any key passes, and the caller compares it.

    Raises:
        ProofError: There is no signature, it does not hold or is of another key, or a picture or a file is not the one
            the report is about.
    """
    from malan.services.outputs.signed_reports import check_report

    signature = path.with_name("review.sig.json")
    if not path.is_file() or not signature.is_file():
        raise ProofError("review.report.unsigned", file=path.name, signature=signature.name)
    found = check_report(path.read_bytes(), signature.read_bytes())
    if key is not None and key not in found.key_ids:
        raise ProofError("review.report.key", key=key[:80], keys=", ".join(found.key_ids))
    report = read_report(path)
    _check_pictures(report, path.parent)
    _check_media(report, media)
    return found


def _check_pictures(report: Mapping[str, Any], folder: Path) -> None:
    for one in report["findings"]:
        if one.get("picture_digest") is None:
            continue
        name = str(one["picture"]).rpartition("/")[2]
        picture = folder / "pictures" / name
        if not picture.is_file() or hashlib.sha256(picture.read_bytes()).hexdigest() != one["picture_digest"]:
            raise ProofError("review.report.picture", file=name)


def _check_media(report: Mapping[str, Any], media: Sequence[Path]) -> None:
    from malan.services.outputs.manifests import file_digest

    known = {one["digest"] for one in report["episodes"]}
    for file in media:
        if not file.is_file() or file_digest(file) not in known:
            raise ProofError("review.report.media", file=file.name)


def _sign(value: dict[str, Any], data: bytes, work: Work) -> bytes | None:
    if work.workspace is None:
        return None
    from malan.services.outputs.signed_reports import sign_report

    media = [one["digest"] for one in value["episodes"]]
    facts = {"app": "review", "pack": value["pack"]["digest"], "as_of": value["as_of"], "verdict": value["verdict"]}
    return sign_report(work.workspace, data, media, facts)
