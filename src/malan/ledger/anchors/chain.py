"""From a time-stamping certificate to a trusted root (RFC 5280 §6.1, as far as time-stamps need it).

Covered: signatures, names, validity at the stated time, who may issue, length of the path, purposes, unknown critical
extensions. Not covered: revocation, policies, name constraints (critical ones are refused). Start at `check_chain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from malan.core.errors import ProofError

LONGEST_CHAIN = 6
# What the parts of a damaged certificate raise when they are looked at; they are read only then.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)

Kind = TypeVar("Kind", bound=x509.ExtensionType)

_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)


def check_chain(
    leaf: x509.Certificate, others: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], time: datetime
) -> None:
    """Check that a certificate may stamp times and leads to one of the roots.

    Args:
        leaf: The certificate of the authority.
        others: Certificates that may lie between, in any order.
        roots: Certificates that end a chain, for their key and name.
        time: When every certificate must be valid.

    Raises:
        ProofError: It may not, or it does not; the code says which.
    """
    _check_purpose(leaf)
    _check_valid(leaf, time)
    _climb(leaf, others, roots, time)


def _climb(
    leaf: x509.Certificate, others: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], time: datetime
) -> None:
    """Follow issuers upwards; a dead end is left for another issuer of the same name."""
    waiting = [(leaf, 0)]
    seen = {leaf}
    while waiting:
        certificate, below = waiting.pop()
        for issuer in roots:
            if _issued(issuer, certificate, below, time) or certificate == issuer:
                return
        for issuer in others:
            if issuer not in seen and below < LONGEST_CHAIN and _issued(issuer, certificate, below, time):
                seen.add(issuer)
                waiting.append((issuer, below + 1))
    raise ProofError("anchor.chain")


def _issued(issuer: x509.Certificate, certificate: x509.Certificate, below: int, time: datetime) -> bool:
    """Whether `issuer` may have issued and did issue the certificate; `below` counts the issuers under it."""
    try:
        if issuer.subject != certificate.issuer or not _may_issue(issuer, below) or not _is_valid(issuer, time):
            return False
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):  # another of the certificates sent along may still lead upwards
        return False
    return True


def _may_issue(issuer: x509.Certificate, below: int) -> bool:
    constraints = _extension(issuer, x509.BasicConstraints)
    usage = _extension(issuer, x509.KeyUsage)
    purposes = _extension(issuer, x509.ExtendedKeyUsage)
    return (
        constraints is not None
        and constraints.ca
        and (constraints.path_length is None or constraints.path_length >= below)
        and (usage is None or usage.key_cert_sign)
        and (purposes is None or _is_for_stamping(purposes))
        and _is_understood(issuer)
    )


def _is_for_stamping(purposes: x509.ExtendedKeyUsage) -> bool:
    return ExtendedKeyUsageOID.TIME_STAMPING in purposes or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in purposes


def _check_purpose(leaf: x509.Certificate) -> None:
    """Time-stamping alone, and marked critical (RFC 3161 §2.3)."""
    try:
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound as error:
        raise ProofError("anchor.purpose") from error
    usage = _extension(leaf, x509.KeyUsage)
    may_sign = usage is None or usage.digital_signature or usage.content_commitment
    is_alone = list(purposes.value) == [ExtendedKeyUsageOID.TIME_STAMPING] and purposes.critical
    if not is_alone or not may_sign or not _is_understood(leaf):
        raise ProofError("anchor.purpose")


def _check_valid(leaf: x509.Certificate, time: datetime) -> None:
    if not _is_valid(leaf, time):
        first, last = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        raise ProofError("anchor.expired", first=f"{first:%Y-%m-%d}", last=f"{last:%Y-%m-%d}", time=f"{time:%Y-%m-%d}")


def _is_valid(certificate: x509.Certificate, time: datetime) -> bool:
    return certificate.not_valid_before_utc <= time <= certificate.not_valid_after_utc


def _is_understood(certificate: x509.Certificate) -> bool:
    return all(not extension.critical or extension.oid in _UNDERSTOOD for extension in certificate.extensions)


def _extension(certificate: x509.Certificate, kind: type[Kind]) -> Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
