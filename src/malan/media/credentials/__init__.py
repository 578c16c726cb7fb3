"""Content Credentials (C2PA 2.x): sign a finished file last, and read what a foreign file claims about itself.

Local files only: no remote manifest, no OCSP, no time stamp authority is ever asked. The native library parses bytes of
strangers, so services call `read_credential` in a worker. Start at `sign_media` and `read_credential`; the design is
in `docs/design/credentials.md`.
"""

from malan.media.credentials.chain import Chain, new_chain
from malan.media.credentials.presence import has_credential
from malan.media.credentials.read import WORKER_MEMORY_BYTES, read_credential
from malan.media.credentials.records import (
    Action,
    Credential,
    CredentialReport,
    Ingredient,
    Problem,
    Relation,
    SourceType,
    Use,
)
from malan.media.credentials.sign import SignedMedia, sign_media

__all__ = [
    "WORKER_MEMORY_BYTES",
    "Action",
    "Chain",
    "Credential",
    "CredentialReport",
    "Ingredient",
    "Problem",
    "Relation",
    "SignedMedia",
    "SourceType",
    "Use",
    "has_credential",
    "new_chain",
    "read_credential",
    "sign_media",
]
