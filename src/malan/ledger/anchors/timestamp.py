"""RFC 3161 time-stamps: build a request, read the answer, check a token down to a trusted root.

Covered: the token is CMS SignedData (RFC 5652) with one signer over a TSTInfo; its imprint is ours; the signed
attributes bind content and certificate (RFC 5816); the certificate is for time-stamping alone (RFC 3161 §2.3) and leads
to a given root, every certificate of the chain valid at the stated time. Not covered: revocation; SM2. Start at
`check_token`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from malan.core.errors import ProofError, Rejected, RetryLater
from malan.ledger.anchors import der
from malan.ledger.anchors.chain import UNREADABLE, check_chain

SIGNED_DATA = "1.2.840.113549.1.7.2"
TST_INFO = "1.2.840.113549.1.9.16.1.4"
SHA256 = "2.16.840.1.101.3.4.2.1"
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12"
SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"

_CONTEXT_0, _CONTEXT_1, _KEY_ID = 0xA0, 0xA1, 0x80
_MOST_CERTIFICATES = 16
_DIGESTS: dict[str, type[hashes.HashAlgorithm]] = {
    SHA256: hashes.SHA256,
    "2.16.840.1.101.3.4.2.2": hashes.SHA384,
    "2.16.840.1.101.3.4.2.3": hashes.SHA512,
}
_RSA = "1.2.840.113549.1.1.1"
_RSA_PSS = "1.2.840.113549.1.1.10"
_MGF1 = "1.2.840.113549.1.1.8"
_RSA_WITH = {f"1.2.840.113549.1.1.{n}": d for n, d in zip((11, 12, 13), _DIGESTS, strict=True)}
_ECDSA_WITH = {f"1.2.840.10045.4.3.{n}": d for n, d in zip((2, 3, 4), _DIGESTS, strict=True)}
_ED25519 = "1.3.101.112"
_TRY_AGAIN = {14, 25}  # timeNotAvailable, systemFailure (RFC 3161 §2.4.2)


@dataclass(frozen=True)
class Statement:
    """What a token says: which digest existed when, under which serial number and policy, answering which nonce."""

    digest: bytes
    time: datetime
    serial: int
    policy: str
    nonce: int | None


@dataclass(frozen=True)
class _Signer:
    issuer_and_serial: tuple[bytes, int] | None
    key_id: bytes | None
    digest: str
    attributes: bytes
    algorithm: str
    parameters: bytes
    signature: bytes


def build_request(digest: bytes, nonce: int) -> bytes:
    """A TimeStampReq for a SHA-256 digest that asks for the certificates too (RFC 3161 §2.4.1)."""
    algorithm = der.encode(der.SEQUENCE, der.encode_oid(SHA256), der.encode(der.NULL))
    imprint = der.encode(der.SEQUENCE, algorithm, der.encode(der.OCTETS, digest))
    wants_certificates = der.encode(der.BOOLEAN, b"\xff")
    return der.encode(der.SEQUENCE, der.encode_integer(1), imprint, der.encode_integer(nonce), wants_certificates)


def token_in(response: bytes, name: str) -> bytes:
    """The token in a TimeStampResp (RFC 3161 §2.4.2).

    Raises:
        Rejected: The authority refuses.
        RetryLater: It says that it cannot just now.
        ProofError: It is no such response.
    """
    reader = der.only(response, der.SEQUENCE)
    status_info = reader.into(der.SEQUENCE)
    status = status_info.integer()
    if status in (0, 1):
        token = reader.take(der.SEQUENCE).whole
        reader.end()
        return token
    failures = _failures(status_info)
    if failures & _TRY_AGAIN:
        raise RetryLater("anchor.later", name=name, status=status)
    raise Rejected("anchor.refused", name=name, status=status)


def check_token(token: bytes, digest: bytes, roots: Sequence[x509.Certificate]) -> Statement:
    """What a token states, checked down to one of the roots.

    Args:
        token: The TimeStampToken, DER.
        digest: SHA-256 of what was stamped.
        roots: Certificates that end a chain.

    Raises:
        ProofError: It is malformed, for something else, or not signed by an authority under these roots.
    """
    content, certificates, signer = _signed_data(token)
    statement = _tst_info(content)
    if statement.digest != digest:
        raise ProofError("anchor.imprint", expected=digest.hex(), found=statement.digest.hex())
    try:
        certificate = _certificate_of(signer, certificates)
        _check_attributes(signer, content, certificate)
        _check_signature(signer, certificate)
        check_chain(certificate, certificates, roots, statement.time)
    except UNREADABLE as error:
        raise ProofError("anchor.certificate") from error
    return statement


def _failures(status_info: der.Reader) -> set[int]:
    """Numbers of the bits set in PKIFailureInfo."""
    for value in status_info.rest():
        if value.tag == der.BITS and 1 < len(value.body) <= 8:
            bits = value.body[1:]
            return {i for i in range(len(bits) * 8) if bits[i // 8] >> 7 - i % 8 & 1}
    return set()


def _signed_data(token: bytes) -> tuple[bytes, list[x509.Certificate], _Signer]:
    outer = der.only(token, der.SEQUENCE)
    _expect(outer.oid(), SIGNED_DATA)
    explicit = outer.into(_CONTEXT_0)
    outer.end()
    data = explicit.into(der.SEQUENCE)
    explicit.end()
    if data.integer() != 3:  # RFC 5652 §5.1 for content that is not plain data
        raise ProofError("anchor.shape")
    digests = data.into(der.SET)
    encapsulated = data.into(der.SEQUENCE)
    _expect(encapsulated.oid(), TST_INFO)
    wrapped = encapsulated.into(_CONTEXT_0)
    encapsulated.end()
    content = wrapped.take(der.OCTETS).body
    wrapped.end()
    held = data.maybe(_CONTEXT_0)
    certificates = _certificates(held.body if held else b"")
    data.maybe(_CONTEXT_1)
    signers = data.into(der.SET)
    data.end()
    signer = _signer(signers.into(der.SEQUENCE))
    signers.end()  # a token carries one signature only (RFC 3161 §2.4.2)
    _expect(_plain_algorithm(digests), signer.digest)
    digests.end()
    return content, certificates, signer


def _certificates(data: bytes) -> list[x509.Certificate]:
    values = der.Reader(data).rest()
    if len(values) > _MOST_CERTIFICATES or not all(_has_plain_serial(value) for value in values):
        raise ProofError("anchor.certificate")
    try:
        return [x509.load_der_x509_certificate(value.whole) for value in values]
    except UNREADABLE as error:
        raise ProofError("anchor.certificate") from error


def _has_plain_serial(certificate: der.Value) -> bool:
    """Whether it is an X.509 certificate whose serial number is positive (RFC 5280 §4.1.2.2)."""
    fields = der.only(certificate.whole, der.SEQUENCE).into(der.SEQUENCE)
    fields.maybe(_CONTEXT_0)
    return fields.integer() > 0


def _signer(reader: der.Reader) -> _Signer:
    version = reader.integer()
    issuer_and_serial = key_id = None
    if version == 1:
        sid = reader.into(der.SEQUENCE)
        issuer_and_serial = (sid.take(der.SEQUENCE).whole, sid.integer())
        sid.end()
    elif version == 3:
        key_id = reader.take(_KEY_ID).body
    else:
        raise ProofError("anchor.shape")
    digest = _plain_algorithm(reader)
    attributes = reader.take(_CONTEXT_0).whole
    algorithm, parameters = _algorithm(reader)
    signature = reader.take(der.OCTETS).body
    reader.maybe(_CONTEXT_1)
    reader.end()
    signed = bytes([der.SET]) + attributes[1:]  # RFC 5652 §5.4: as a SET, not under its implicit tag
    return _Signer(issuer_and_serial, key_id, digest, signed, algorithm, parameters, signature)


def _algorithm(reader: der.Reader) -> tuple[str, bytes]:
    """Name and parameters of an AlgorithmIdentifier; NULL counts as none."""
    inside = reader.into(der.SEQUENCE)
    name = inside.oid()
    parameters = inside.take().whole if inside.tag is not None else b""
    inside.end()
    return name, b"" if parameters == b"\x05\x00" else parameters


def _plain_algorithm(reader: der.Reader) -> str:
    """Name of an algorithm that takes no parameters, as digests do."""
    name, parameters = _algorithm(reader)
    if parameters:
        raise ProofError("anchor.shape")
    return name


def _tst_info(content: bytes) -> Statement:
    reader = der.only(content, der.SEQUENCE)
    if reader.integer() != 1:
        raise ProofError("anchor.shape")
    policy = reader.oid()
    imprint = reader.into(der.SEQUENCE)
    algorithm = _plain_algorithm(imprint)
    if algorithm != SHA256:
        raise ProofError("anchor.algorithm", algorithm=algorithm)
    digest = imprint.take(der.OCTETS).body
    imprint.end()
    serial = reader.integer()
    time = der.time_of(reader.take(der.TIME))
    reader.maybe(der.SEQUENCE)  # accuracy
    if ordering := reader.maybe(der.BOOLEAN):
        der.boolean_of(ordering)
    nonce = der.integer_of(reader.take()) if reader.tag == der.INTEGER else None
    reader.maybe(_CONTEXT_0)  # tsa: a hint only
    if reader.maybe(_CONTEXT_1):  # extensions: none is known, and one may be critical
        raise ProofError("anchor.shape")
    reader.end()
    return Statement(digest, time, serial, policy, nonce)


def _certificate_of(signer: _Signer, certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    for certificate in certificates:
        if signer.issuer_and_serial is not None:
            if signer.issuer_and_serial == (certificate.issuer.public_bytes(), certificate.serial_number):
                return certificate
        elif signer.key_id == _key_id(certificate):
            return certificate
    raise ProofError("anchor.no_certificate")


def _key_id(certificate: x509.Certificate) -> bytes | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (x509.ExtensionNotFound, ValueError):
        return None


def _check_attributes(signer: _Signer, content: bytes, certificate: x509.Certificate) -> None:
    """The signed attributes name the content and the certificate (RFC 5652 §11, RFC 3161 §2.4.2, RFC 5816 §2.2.1)."""
    attributes = _attributes(signer.attributes)
    _expect(der.oid_of(_single(attributes, CONTENT_TYPE)), TST_INFO)
    digest = _hash(signer.digest, content)
    if _single(attributes, MESSAGE_DIGEST).body != digest:
        raise ProofError("anchor.changed")
    whole = certificate.public_bytes(Encoding.DER)
    if SIGNING_CERTIFICATE_V2 in attributes:
        named = _named_certificate_v2(_single(attributes, SIGNING_CERTIFICATE_V2), whole)
    elif SIGNING_CERTIFICATE in attributes:
        first = der.Reader(_single(attributes, SIGNING_CERTIFICATE).body).into(der.SEQUENCE).into(der.SEQUENCE)
        # The standard fixes SHA-1 here (RFC 2634 §5.4); it only names the certificate, the chain is what is trusted.
        named = first.take(der.OCTETS).body == hashlib.sha1(whole, usedforsecurity=False).digest()
    else:
        named = False
    if not named:
        raise ProofError("anchor.other_certificate")


def _attributes(data: bytes) -> dict[str, list[der.Value]]:
    found: dict[str, list[der.Value]] = {}
    for value in der.only(data, der.SET).rest():
        attribute = der.only(value.whole, der.SEQUENCE)
        name = attribute.oid()
        if name in found:
            raise ProofError("anchor.shape")
        found[name] = attribute.into(der.SET).rest()
        attribute.end()
    return found


def _single(attributes: dict[str, list[der.Value]], name: str) -> der.Value:
    values = attributes.get(name, [])
    if len(values) != 1:
        raise ProofError("anchor.shape")
    return values[0]


def _named_certificate_v2(value: der.Value, whole: bytes) -> bool:
    """Whether the first ESSCertIDv2 is the certificate; its hash is SHA-256 unless it says otherwise (RFC 5035 §4)."""
    first = der.Reader(value.body).into(der.SEQUENCE).into(der.SEQUENCE)
    algorithm = _plain_algorithm(first) if first.tag == der.SEQUENCE else SHA256
    return first.take(der.OCTETS).body == _hash(algorithm, whole)


def _check_signature(signer: _Signer, certificate: x509.Certificate) -> None:
    try:
        key = certificate.public_key()
        if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
            _verify_rsa(key, signer)
        elif isinstance(key, ec.EllipticCurvePublicKey) and signer.algorithm in _ECDSA_WITH:
            key.verify(signer.signature, signer.attributes, ec.ECDSA(_digest(_ECDSA_WITH[signer.algorithm])))
        elif isinstance(key, ed25519.Ed25519PublicKey) and signer.algorithm == _ED25519:
            key.verify(signer.signature, signer.attributes)
        else:
            raise ProofError("anchor.algorithm", algorithm=signer.algorithm)
    except InvalidSignature as error:
        raise ProofError("anchor.signature") from error


def _verify_rsa(key: rsa.RSAPublicKey, signer: _Signer) -> None:
    if signer.algorithm == _RSA_PSS:
        digest, salt_bytes = _pss(signer.parameters)
        pss = padding.PSS(padding.MGF1(_digest(digest)), salt_bytes)
        key.verify(signer.signature, signer.attributes, pss, _digest(digest))
        return
    named = signer.digest if signer.algorithm == _RSA else _RSA_WITH.get(signer.algorithm, signer.algorithm)
    key.verify(signer.signature, signer.attributes, padding.PKCS1v15(), _digest(named))


def _pss(parameters: bytes) -> tuple[str, int]:
    """Digest and salt length of RSASSA-PSS parameters (RFC 4055 §3.1); the mask must use the same digest."""
    reader = der.only(parameters, der.SEQUENCE)
    digest = _plain_algorithm(reader.into(_CONTEXT_0))
    mask, mask_parameters = _algorithm(reader.into(_CONTEXT_1))
    _expect(mask, _MGF1)
    _expect(der.Reader(der.only(mask_parameters, der.SEQUENCE).take(der.OID).whole).oid(), digest)
    salt_bytes = reader.into(0xA2).integer()
    if not 0 <= salt_bytes <= 64:
        raise ProofError("anchor.shape")
    return digest, salt_bytes


def _digest(name: str) -> hashes.HashAlgorithm:
    if name not in _DIGESTS:
        raise ProofError("anchor.algorithm", algorithm=name)
    return _DIGESTS[name]()


def _hash(name: str, data: bytes) -> bytes:
    return hashlib.new(_digest(name).name, data).digest()


def _expect(found: str, wanted: str) -> None:
    if found != wanted:
        raise ProofError("anchor.shape")
