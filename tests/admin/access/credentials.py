"""Keys, tokens signed with them, and invalid tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

SECRET = "a secret of the tests, longer than 32 bytes"
API_KEY = "an API key of the tests"


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """HiveSync's key pair for RS256."""
    return rsa.generate_private_key(65_537, bits)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    """HiveSync's key pair for ES256."""
    return ec.generate_private_key(ec.SECP256R1())


def public_pem(key: Any) -> bytes:
    """The content of HiveSync's public key file."""
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def private_pem(key: Any) -> bytes:
    """The private key, in the same format."""
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of an admin, valid for another hour; None removes a claim."""
    now = int(time.time())
    content = {"sub": "admin-1", "scope": "admin", "iat": now, "exp": now + 3600} | changes
    return {name: value for name, value in content.items() if value is not None}


def token(key: Any = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    """A token as HiveSync signs it."""
    return jwt.encode(claims(**changes), key, algorithm)


def encoded(content: object) -> str:
    """A part of a token: JSON or bytes, in base64url."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(header: object, payload: object, key: bytes | None = None) -> str:
    """Any header and payload, signed with HMAC-SHA256 or not at all."""
    signed = f"{encoded(header)}.{encoded(payload)}"
    signature = hmac.digest(key, signed.encode(), hashlib.sha256) if key is not None else b""
    return f"{signed}.{encoded(signature)}"


@cache
def bad_tokens() -> dict[str, str]:
    """Invalid tokens by their defect, if `SECRET` and the public key of `rsa_key` are configured."""
    good = token()
    head, payload, signature = good.split(".")
    other = rsa.generate_private_key(65_537, 2048)
    now = int(time.time())
    pem = public_pem(rsa_key())
    return {
        "expired": token(exp=now - 60),
        "without exp": token(exp=None),
        "not yet valid": token(nbf=now + 86_400),
        "issued in the future": token(iat=now + 86_400),
        "signed with another secret": token("another secret that is long enough too"),
        "signed with another key": token(other, "RS256"),
        "signed with an algorithm that is not configured": token(SECRET * 2, "HS512"),
        "signed with another algorithm of the key": token(rsa_key(), "PS256"),
        "alg none": forged({"alg": "none", "typ": "JWT"}, claims()),
        "alg None": forged({"alg": "None", "typ": "JWT"}, claims()),
        "alg none, with a signature": forged({"alg": "none", "typ": "JWT"}, claims(), SECRET.encode()),
        "no alg": forged({"typ": "JWT"}, claims(), SECRET.encode()),
        "alg is a list": forged({"alg": ["HS256"]}, claims(), SECRET.encode()),
        "the public key as a secret": forged({"alg": "HS256", "typ": "JWT"}, claims(), pem),
        "the public key as a secret, without its last line end": forged({"alg": "HS256"}, claims(), pem.strip()),
        "RS256, signed with the secret": forged({"alg": "RS256"}, claims(), SECRET.encode()),
        "a key of its own": forged({"alg": "HS256", "jwk": {"kty": "oct", "k": encoded(b"k")}}, claims(), b"k"),
        "an unknown critical header": forged({"alg": "HS256", "crit": ["exp"]}, claims(), SECRET.encode()),
        "tampered payload": f"{head}.{encoded(claims(sub='somebody else'))}.{signature}",
        "tampered signature": f"{head}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        "bits left over in the signature": f"{head}.{payload}.{_same_bytes_other_text(signature)}",
        "truncated": good[:-5],
        "without its signature": f"{head}.{payload}.",
        "without its last part": f"{head}.{payload}",
        "one part too many": f"{good}.{signature}",
        "oversized": token(padding="x" * 8192),
        "not a token": "not-a-token",
        "empty": "",
        "not ASCII": good[:-1] + "\xe9",
        "not base64": f"{head}.{payload}.!!!!",
        "payload no object": forged({"alg": "HS256"}, ["admin"], SECRET.encode()),
        "header no object": forged("HS256", claims(), SECRET.encode()),
        "nested beyond measure": forged(b"[" * 3000, b"[" * 2500, SECRET.encode()),
        "exp beyond measure": forged({"alg": "HS256"}, b'{"scope": "admin", "exp": 1e400}', SECRET.encode()),
        "exp is a list": forged({"alg": "HS256"}, claims(exp=[]), SECRET.encode()),
    }


def _same_bytes_other_text(signature: str) -> str:
    """The same bytes in another text: of the 43 characters for 32 bytes, the last has two unused bits."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet[alphabet.index(signature[-1]) | 1]
    assert last != signature[-1]
    assert base64.urlsafe_b64decode(signature[:-1] + last + "=") == base64.urlsafe_b64decode(signature + "=")
    return signature[:-1] + last
