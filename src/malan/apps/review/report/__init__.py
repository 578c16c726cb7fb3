"""Reports people read and keep: HTML that stands alone, JSON, PDF, signature. Start at `write_reports`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.apps.review.report.page import page
from malan.apps.review.report.pictures import add_pictures
from malan.apps.review.report.print import find_browser, print_pdf
from malan.core.errors import ProofError

if TYPE_CHECKING:
    from malan.apps.frame import Work
    from malan.apps.review.app import Reviewed
    from malan.services.signed_reports import SignedReport

__all__ = ["check_signature", "read_report", "write_reports"]

LARGEST = 200_000_000


def write_reports(
    value: dict[str, Any], episodes: Sequence[Reviewed], work: Work, *, language: str, pdf: bool
) -> dict[str, Path]:
    """Write the report in every form; what was written, by form.

    `review.json` is the report itself; the signature is over its bytes, and the other forms name its digest.
    """
    from malan.apps.review.app import measured_folder

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


def check_signature(path: Path) -> SignedReport:
    """Who signed a report and about which media; the signature lies beside it, as it was made.

    Raises:
        ProofError: There is none, or it does not hold.
    """
    from malan.services.signed_reports import check_report

    signature = path.with_name("review.sig.json")
    if not path.is_file() or not signature.is_file():
        raise ProofError("review.report.unsigned", file=path.name, signature=signature.name)
    return check_report(path.read_bytes(), signature.read_bytes())


def _sign(value: dict[str, Any], data: bytes, work: Work) -> bytes | None:
    if work.workspace is None:
        return None
    from malan.services.signed_reports import sign_report

    media = [one["digest"] for one in value["episodes"]]
    facts = {"app": "review", "pack": value["pack"]["digest"], "as_of": value["as_of"], "verdict": value["verdict"]}
    return sign_report(work.workspace, data, media, facts)
