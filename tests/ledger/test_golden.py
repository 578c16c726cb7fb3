"""The golden log: from this key and these entries, exactly these bytes, on every machine and in every version."""

from __future__ import annotations

import hashlib
from pathlib import Path

from log_factory import KEY, files, reader, write_log

from malan.ledger.receipt import receipt_for

VKEY = "log.example/golden+15cad01a+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
CHECKPOINT = """\
log.example/golden
700
rRXoFgCh0jBkw5ZndhiZlRyMyqKO0xWR6Y4f8c09I+M=

— log.example/golden FcrQGhUVUP8ecaWL7fOb9xuIRSoaLiVWozFOrRP6f3XHsqgEdvdCdiTe2ezypH0fo6TboezuLXznDBtO+pCd40NE7ws=
"""
DIGESTS = {
    "checkpoint": "83145f8a037d71dc",
    "journal": "da72ebfd9c8cad47",
    "lock": "e3b0c44298fc1c14",
    "tile/0/000": "8e89aa0eb6784559",
    "tile/0/001": "cf373457b601d75a",
    "tile/0/002.p/188": "3d5f306b571a0a17",
    "tile/1/000.p/1": "e08f2ea58f045903",
    "tile/1/000.p/2": "66850094b5c8c542",
    "tile/entries/000": "3468a45dc5cc4cf7",
    "tile/entries/001": "bb854f1a098a3fd8",
    "tile/entries/002.p/188": "37a803d2259f420d",
}
RECEIPT = """\
c2sp.org/tlog-proof@v1
extra ZW50cnkgMjk5IOWtmOivgeWtmOivgeWtmOivgeWtmOivgeWtmOivgQ==
index 299
nbgouO/CQkf1SNEyzLsn9lXkgu2jH7LETBe4JeYSCyA=
vM5lgq4wfpXEYf9laDaFNPwNCKzYJkUsUzvSgJ9KQj0=
VyHgbXtxCO8+aPzX7kHzQr3SsR0tp33HkkQPwJDNLMA=
BoQie9C/9v3z7kju54ZrqOptYR3O2tlwk+8SRv8mCIs=
sLPQJ+Qmcu2tbNtOucg2msZ2Y2tqVkCVKKqh2lVl4Vk=
mXrAIQonQFtl5GgRhFT8LSLr8oipQYqjNL6qij2YV1A=
bdQbXFknSo2FgWtMt2jq7Xv+Ig/Q6y/Q2Bro0oabnvE=
CwKewqPZAM1qvq551vh1EcwCLHPKaxRADr1gvmpbvac=
eXJa+Z7tdfUYDnVo+Rg4AB2JmJqgEaNM7/M4Jk0ap5M=
CJa4UK51+WLLaKO67sH/f0Keijh6DwTOMwEgYKQNgmc=

log.example/golden
700
rRXoFgCh0jBkw5ZndhiZlRyMyqKO0xWR6Y4f8c09I+M=

— log.example/golden FcrQGhUVUP8ecaWL7fOb9xuIRSoaLiVWozFOrRP6f3XHsqgEdvdCdiTe2ezypH0fo6TboezuLXznDBtO+pCd40NE7ws=
"""


def test_the_golden_log_has_these_files_and_bytes(tmp_path: Path) -> None:
    folder = write_log(tmp_path, [1, 300, 700], pending=2)
    assert KEY.vkey == VKEY
    assert (folder / "checkpoint").read_text("utf-8") == CHECKPOINT
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()[:16] for name in files(folder)}
    assert found == DIGESTS


def test_the_golden_receipt_has_these_lines(tmp_path: Path) -> None:
    folder = write_log(tmp_path, [1, 300, 700])
    assert receipt_for(reader(folder), 299).decode() == RECEIPT
