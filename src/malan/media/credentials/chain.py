"""A private chain of certificates that C2PA validators accept: one root, one leaf that signs media.

The root's key is thrown away once the leaf is issued, so nothing else can ever be issued under it; to rotate, make a
new chain and keep both roots as anchors. Start at `new_chain`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from malan.core.errors import UsageError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

ALGORITHM = "es256"
_MOST_NAME = 56  # X.520 allows 64 characters; we add a word
_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class Chain:
    """A signing identity, as PEM: the anchor others trust, what goes into files, and the secret."""

    root_pem: str
    chain_pem: str
    key_pem: str = field(repr=False)


def new_chain(organisation: str, *, now: datetime | None = None, years: int = 10) -> Chain:
    """A fresh chain for an organisation: ECDSA P-256, valid from five minutes ago for `years` years.

    Files carry no trusted time stamp, so a credential ends with its certificate: hence the long life.

    Raises:
        UsageError: The name is empty, longer than 56 characters, or holds control characters.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    if not 0 < len(organisation) <= _MOST_NAME or not organisation.isprintable() or not organisation.strip():
        raise UsageError("credentials.bad_organisation", most=_MOST_NAME)
    start = (now or datetime.now(UTC)) - _CLOCK_SKEW
    end = start + timedelta(days=365 * years)
    root_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _root(organisation, root_key, start, end)
    return Chain(_pem(root), _pem(_leaf(organisation, leaf_key, root, root_key)), _key_pem(leaf_key))


def _root(organisation: str, key: EllipticCurvePrivateKey, start: datetime, end: datetime) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    name = _name(organisation, "root")
    certificate = _blank(name, name, key, start, end)
    certificate = certificate.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    certificate = certificate.add_extension(_usage(sign=False, issue=True), critical=True)
    return certificate.sign(key, hashes.SHA256())


def _leaf(
    organisation: str, key: EllipticCurvePrivateKey, root: x509.Certificate, root_key: EllipticCurvePrivateKey
) -> x509.Certificate:
    """As the C2PA certificate profile wants it (C2PA 2.x §14.5): not a CA, digitalSignature alone, a known purpose."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

    purposes = [ExtendedKeyUsageOID.EMAIL_PROTECTION, ObjectIdentifier("1.3.6.1.5.5.7.3.36")]  # documentSigning
    certificate = _blank(
        _name(organisation, "media"), root.subject, key, root.not_valid_before_utc, root.not_valid_after_utc
    )
    certificate = certificate.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    certificate = certificate.add_extension(_usage(sign=True, issue=False), critical=True)
    certificate = certificate.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    return certificate.add_extension(issuer, critical=False).sign(root_key, hashes.SHA256())


def _blank(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    from cryptography import x509

    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _name(organisation: str, part: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    pairs = ((NameOID.ORGANIZATION_NAME, organisation), (NameOID.COMMON_NAME, f"{organisation} {part}"))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])


def _usage(*, sign: bool, issue: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=sign, key_cert_sign=issue, crl_sign=issue, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _pem(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _key_pem(key: EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives import serialization

    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()
