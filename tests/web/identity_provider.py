"""A small OpenID provider on the loopback, with real keys: signs in whoever it is told to, and can be told to lie."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

CLIENT, SECRET = "malan-console", "a secret: between & us"
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int) -> str:
    return b64(value.to_bytes(size))


def public_keys() -> list[dict[str, str]]:
    modulus, point = RSA.public_key().public_numbers().n, EC.public_key().public_numbers()
    return [
        {"kty": "RSA", "kid": "RS256", "use": "sig", "n": number(modulus, 256), "e": "AQAB"},
        {"kty": "EC", "kid": "ES256", "crv": "P-256", "x": number(point.x, 32), "y": number(point.y, 32)},
        {"kty": "OKP", "kid": "EdDSA", "crv": "Ed25519", "x": b64(ED.public_key().public_bytes_raw())},
    ]


def sign(algorithm: str, data: bytes) -> bytes:
    if algorithm == "RS256":
        return RSA.sign(data, padding.PKCS1v15(), SHA256())
    if algorithm == "ES256":
        r, s = decode_dss_signature(EC.sign(data, ec.ECDSA(SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)
    return ED.sign(data)


def token(claims: dict[str, Any], algorithm: str = "EdDSA", header: dict[str, Any] | None = None) -> str:
    head = {"alg": algorithm, "kid": algorithm, "typ": "JWT"} | (header or {})
    signed = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{signed}.{b64(sign(algorithm, signed.encode()))}"


@dataclass
class Provider:
    """What it says: `person` are the claims of whoever sits at the browser; the rest changes what it says."""

    url: str = ""
    person: dict[str, Any] = field(
        default_factory=lambda: {"sub": "u-1", "email": "wang@station.example", "email_verified": True}
    )
    algorithm: str = "EdDSA"
    claims: dict[str, Any] = field(default_factory=dict)  # in the place of what is right
    header: dict[str, Any] = field(default_factory=dict)
    discovery: dict[str, Any] = field(default_factory=dict)
    spoil: Callable[[str], str] = str
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)

    def authorize(self, address: str) -> str:
        """The browser at the provider: where it is sent back to."""
        said = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        code = secrets.token_urlsafe(16)
        self.codes[code] = said
        return f"{said['redirect_uri']}?{urlencode({'code': code, 'state': said['state'], 'iss': self.url})}"

    def redeem(self, form: dict[str, str], authorization: str) -> dict[str, Any] | None:
        self.asked.append(form)
        said = self.codes.pop(form.get("code", ""), None)
        pair = base64.b64encode(f"{CLIENT}:a%20secret%3A%20between%20%26%20us".encode()).decode()
        if said is None or authorization != f"Basic {pair}" or form.get("redirect_uri") != said["redirect_uri"]:
            return None
        challenge = b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if said.get("code_challenge_method") != "S256" or challenge != said["code_challenge"]:
            return None
        now = int(time.time())
        right = {"iss": self.url, "aud": CLIENT, "exp": now + 300, "iat": now, "nonce": said["nonce"], **self.person}
        claims = {name: value for name, value in {**right, **self.claims}.items() if value is not None}
        return {
            "access_token": "x",
            "token_type": "Bearer",
            "id_token": self.spoil(token(claims, self.algorithm, self.header)),
        }

    def answer(self, path: str) -> Any:
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                **self.discovery,
            }
        return {"keys": public_keys()} if path == "/keys" else None


@contextmanager
def identity_provider() -> Iterator[Provider]:
    """A provider that runs for as long as the block."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(provider.answer(self.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._say(provider.redeem(form, self.headers.get("authorization", "")))

        def _say(self, said: Any) -> None:
            data = json.dumps(said or {"error": "invalid_grant"}).encode()
            self.send_response(200 if said else 400)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_said: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    provider.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
