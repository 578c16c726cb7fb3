"""Time-stamp authorities for tests: one written here, with a knob for every way to be wrong, and openssl's own."""

from __future__ import annotations

import hashlib
import ipaddress
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from loopback import Answer, Asked

from malan.ledger.anchors import der
from malan.ledger.anchors.timestamp import (
    CONTENT_TYPE,
    MESSAGE_DIGEST,
    SHA256,
    SIGNED_DATA,
    SIGNING_CERTIFICATE,
    SIGNING_CERTIFICATE_V2,
    TST_INFO,
)
from malan.ledger.anchors.tsa import REPLY_TYPE

NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass
class Certified:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        plain = serialization.NoEncryption()
        return bytes(self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))


def certify(
    name: str,
    issuer: Certified | None = None,
    *,
    key: Any = None,
    is_ca: bool = False,
    path_length: int | None = None,
    purposes: Sequence[x509.ObjectIdentifier] = (),
    is_critical: bool = True,
    since: datetime = NOW - timedelta(days=30),
    until: datetime = NOW + timedelta(days=300),
    strange: bool = False,
    address: str = "",
) -> Certified:
    """A certificate, by an issuer or by itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if is_ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=is_critical)
    if address:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        builder = builder.add_extension(names, critical=False)
    if strange:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.7"), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=True)
    signing_key = issuer.key if issuer else key
    is_edwards = isinstance(signing_key, ed25519.Ed25519PrivateKey)
    return Certified(builder.sign(signing_key, None if is_edwards else hashes.SHA256()), key)


def stamping(name: str, issuer: Certified, **options: Any) -> Certified:
    """A certificate for time-stamping alone."""
    return certify(name, issuer, purposes=[ExtendedKeyUsageOID.TIME_STAMPING], **options)


@dataclass
class DrawnTsa:
    """Answers requests like an authority; each knob makes it wrong in one way."""

    signer: Certified
    sent: list[Certified] = field(default_factory=list)
    time: str = ""
    status: int = 0
    failure_bit: int | None = None
    nonce_shift: int = 0
    omit_nonce: bool = False
    imprint: bytes | None = None
    imprint_algorithm: str = SHA256
    content_type: str = TST_INFO
    attribute_type: str = TST_INFO
    message_digest: bytes | None = None
    named: bytes | None = None
    named_by_sha1: bool = False
    omit_named: bool = False
    by_key_id: bool = False
    signatures: int = 1
    scheme: str = "pkcs1"
    extension: bytes = b""
    break_signature: bool = False
    unsigned: bytes = b""
    algorithm: str = ""

    def answer(self, request: bytes) -> bytes:
        if self.status:
            bits = b""
            if self.failure_bit is not None:
                number = self.failure_bit
                data = bytearray(number // 8 + 1)
                data[-1] = 0x80 >> number % 8
                bits = der.encode(der.BITS, bytes([7 - number % 8]), bytes(data))
            return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, der.encode_integer(self.status), bits))
        granted = der.encode(der.SEQUENCE, der.encode_integer(0))
        return der.encode(der.SEQUENCE, granted, self.token(request))

    def token(self, request: bytes) -> bytes:
        reader = der.only(request, der.SEQUENCE)
        reader.integer()
        imprint = reader.into(der.SEQUENCE)
        imprint.take()
        digest = self.imprint or imprint.take(der.OCTETS).body
        content = self._tst_info(digest, reader.integer())
        digest_algorithm = _algorithm(SHA256, der.encode(der.NULL))
        encapsulated = der.encode(
            der.SEQUENCE, der.encode_oid(self.content_type), der.encode(0xA0, der.encode(der.OCTETS, content))
        )
        certificates = b"".join(c.der for c in (self.sent or [self.signer]))
        signed_data = der.encode(
            der.SEQUENCE,
            der.encode_integer(3),
            der.encode(der.SET, digest_algorithm),
            encapsulated,
            der.encode(0xA0, certificates),
            der.encode(der.SET, *[self._signer_info(content)] * self.signatures),
        )
        return der.encode(der.SEQUENCE, der.encode_oid(SIGNED_DATA), der.encode(0xA0, signed_data))

    def _tst_info(self, digest: bytes, nonce: int) -> bytes:
        imprint = der.encode(
            der.SEQUENCE,
            _algorithm(self.imprint_algorithm, der.encode(der.NULL)),
            der.encode(der.OCTETS, digest),
        )
        return der.encode(
            der.SEQUENCE,
            der.encode_integer(1),
            der.encode_oid("1.3.6.1.4.1.99999.1"),
            imprint,
            der.encode_integer(1234567),
            der.encode(der.TIME, (self.time or f"{NOW:%Y%m%d%H%M%S}Z").encode()),
            b"" if self.omit_nonce else der.encode_integer(nonce + self.nonce_shift),
            self.extension,
        )

    def _signer_info(self, content: bytes) -> bytes:
        certificate = self.signer.certificate
        issuer = der.encode(
            der.SEQUENCE, certificate.issuer.public_bytes(), der.encode_integer(certificate.serial_number)
        )
        key_id = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
        attributes = self._attributes(content)
        algorithm, signature = self._sign(der.encode(der.SET, attributes))
        algorithm = _algorithm(self.algorithm) if self.algorithm else algorithm
        if self.break_signature:
            signature = signature[:-1] + bytes([signature[-1] ^ 1])
        return der.encode(
            der.SEQUENCE,
            der.encode_integer(3 if self.by_key_id else 1),
            der.encode(0x80, key_id) if self.by_key_id else issuer,
            _algorithm(SHA256, der.encode(der.NULL)),
            der.encode(0xA0, attributes),
            algorithm,
            der.encode(der.OCTETS, signature),
            self.unsigned,
        )

    def _attributes(self, content: bytes) -> bytes:
        digest = self.message_digest or hashlib.sha256(content).digest()
        named = self.named or self.signer.der
        attributes = _attribute(CONTENT_TYPE, der.encode_oid(self.attribute_type))
        attributes += _attribute(MESSAGE_DIGEST, der.encode(der.OCTETS, digest))
        if self.omit_named:
            return attributes
        hashed = hashlib.sha1(named).digest() if self.named_by_sha1 else hashlib.sha256(named).digest()
        ess = der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, der.encode(der.OCTETS, hashed)))
        kind = SIGNING_CERTIFICATE if self.named_by_sha1 else SIGNING_CERTIFICATE_V2
        return attributes + _attribute(kind, der.encode(der.SEQUENCE, ess))

    def _sign(self, attributes: bytes) -> tuple[bytes, bytes]:
        key = self.signer.key
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return _algorithm("1.2.840.10045.4.3.2"), key.sign(attributes, ec.ECDSA(hashes.SHA256()))
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return _algorithm("1.3.101.112"), key.sign(attributes)
        assert isinstance(key, rsa.RSAPrivateKey)
        if self.scheme == "pss":
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
            sha256 = _algorithm(SHA256, der.encode(der.NULL))
            parameters = der.encode(
                der.SEQUENCE,
                der.encode(0xA0, sha256),
                der.encode(0xA1, _algorithm("1.2.840.113549.1.1.8", sha256)),
                der.encode(0xA2, der.encode_integer(32)),
            )
            return _algorithm("1.2.840.113549.1.1.10", parameters), key.sign(attributes, pss, hashes.SHA256())
        signature = key.sign(attributes, padding.PKCS1v15(), hashes.SHA256())
        name = "1.2.840.113549.1.1.1" if self.scheme == "plain" else "1.2.840.113549.1.1.11"
        return _algorithm(name, der.encode(der.NULL)), signature

    def serve(self, asked: Asked) -> Answer:
        assert asked.headers["content-type"] == "application/timestamp-query"
        return Answer(200, self.answer(asked.body), REPLY_TYPE)


class OpensslTsa:
    """`openssl ts -reply`: an authority that nobody here wrote."""

    def __init__(self, folder: Path, signer: Certified, *, chain: Sequence[Certified] = ()) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "serial").write_text("01\n")
        (folder / "tsa.pem").write_bytes(signer.pem)
        (folder / "tsa.key").write_bytes(signer.key_pem)
        (folder / "chain.pem").write_bytes(b"".join(c.pem for c in chain))
        certs = f"certs = {folder}/chain.pem\n" if chain else ""
        (folder / "tsa.cnf").write_text(
            f"[tsa]\ndefault_tsa = it\n[it]\nserial = {folder}/serial\ncrypto_device = builtin\n{certs}"
            "signer_digest = sha256\ndefault_policy = 1.3.6.1.4.1.99999.1\ndigests = sha256, sha384, sha512\n"
            "accuracy = secs:1\nordering = yes\ntsa_name = yes\ness_cert_id_chain = yes\ness_cert_id_alg = sha256\n"
        )

    def answer(self, request: bytes) -> bytes:
        (self._folder / "q.tsq").write_bytes(request)
        self._run("-reply", "-config", "tsa.cnf", "-queryfile", "q.tsq", "-signer", "tsa.pem", "-inkey", "tsa.key")
        return (self._folder / "r.tsr").read_bytes()

    def serve(self, asked: Asked) -> Answer:
        return Answer(200, self.answer(asked.body), REPLY_TYPE)

    def _run(self, *arguments: str) -> None:
        command = ["openssl", "ts", *arguments, "-out", "r.tsr"]
        subprocess.run(command, cwd=self._folder, check=True, capture_output=True, timeout=30)


def openssl_accepts(
    folder: Path, token: bytes, digest: bytes, root: Certified, others: Sequence[Certified] = ()
) -> bool:
    """Whether `openssl ts -verify` accepts a token for a digest."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "token").write_bytes(token)
    (folder / "root.pem").write_bytes(root.pem)
    (folder / "others.pem").write_bytes(b"".join(c.pem for c in others))
    command = ["openssl", "ts", "-verify", "-digest", digest.hex(), "-in", "token", "-token_in", "-CAfile", "root.pem"]
    command += ["-untrusted", "others.pem"] if others else []
    return subprocess.run(command, cwd=folder, capture_output=True, timeout=30, check=False).returncode == 0


def _algorithm(name: str, parameters: bytes = b"") -> bytes:
    return der.encode(der.SEQUENCE, der.encode_oid(name), parameters)


def _attribute(name: str, value: bytes) -> bytes:
    return der.encode(der.SEQUENCE, der.encode_oid(name), der.encode(der.SET, value))
