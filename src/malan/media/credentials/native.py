"""The one place that meets `c2pa-python`: settings that keep it local, and its errors as ours.

Everything that could reach a network is off: remote manifests, OCSP, redirects; no host is allowed; no time stamp
authority is named. Tests watch a local server stay silent.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

MOST_MANIFEST_BYTES = 16 << 20
_MEMORY_MB = 32  # above this the library works in a temporary file


def library() -> Any:
    """The module `c2pa`, imported on first use: its native part is 23 MB."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import c2pa

    return c2pa


def context(anchors: Iterable[str]) -> Any:
    """A context of the library that trusts nothing but `anchors` (PEM) and asks nobody."""
    roots = "\n".join(anchors)
    settings = {
        "core": {
            "allowed_network_hosts": [],
            "allow_redirects": False,
            "backing_store_memory_threshold_in_mb": _MEMORY_MB,
            "max_decompressed_manifest_size_in_mb": MOST_MANIFEST_BYTES >> 20,
        },
        "verify": {
            "verify_after_sign": False,  # we read back ourselves
            "verify_trust": True,
            "verify_timestamp_trust": True,
            "ocsp_fetch": False,
            "remote_manifest_fetch": False,
        },
        "trust": {"user_anchors": roots} if roots else {},
        "builder": {
            "thumbnail": {"enabled": False},
            "certificate_status_fetch": None,
            "bmff_hash_exclude_free_and_skip_boxes": False,  # then no byte of an mp4 is left out of the hash
        },
    }
    return library().Context.from_dict(settings)
