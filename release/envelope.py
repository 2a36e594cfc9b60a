"""Signatures: an in-toto statement in a DSSE envelope, signed by an Ed25519 key of one's own.

https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_ENCODING, _FORMAT = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo


class ReleaseError(Exception):
    """What is wrong, in words."""


def private_key(path: Path) -> Ed25519PrivateKey:
    """An unencrypted PEM file. Raises ReleaseError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ReleaseError(f"{path} is no private key in PEM without a password: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ReleaseError(f"{path} is no Ed25519 key: openssl genpkey -algorithm ed25519")
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    """A PEM file. Raises ReleaseError."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{path} is no public key in PEM: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ReleaseError(f"{path} is no Ed25519 key")
    return key


def sealed(statement: dict[str, Any], key: Ed25519PrivateKey) -> str:
    """The envelope, one line of JSON."""
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
    signature = {"keyid": key_id(key.public_key()), "sig": _text(key.sign(encoded(payload)))}
    envelope = {
        "payload": _text(payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [signature],
    }
    return json.dumps(envelope, sort_keys=True) + "\n"


def opened(envelope: bytes, key: Ed25519PublicKey) -> dict[str, Any]:
    """The statement, once its signature is the key's. Raises ReleaseError."""
    try:
        found = json.loads(envelope)
        payload = base64.b64decode(found["payload"], validate=True)
        signatures = [base64.b64decode(one["sig"], validate=True) for one in found["signatures"]]
        kind = found["payloadType"]
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        raise ReleaseError("is no envelope with a signature") from None
    if kind != PAYLOAD_TYPE or not any(_is_signed(payload, one, key) for one in signatures):
        raise ReleaseError(f"is not signed by the key {key_id(key)[:16]}…, or was changed since")
    statement: dict[str, Any] = json.loads(payload)
    return statement


def key_id(key: Ed25519PublicKey) -> str:
    """sha256 of the key's DER, in hex."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_bytes(_ENCODING, _FORMAT))
    return digest.finalize().hex()


def _is_signed(payload: bytes, signature: bytes, key: Ed25519PublicKey) -> bool:
    try:
        key.verify(signature, encoded(payload))
    except InvalidSignature:
        return False
    return True


def encoded(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """DSSE's pre-authentication encoding: the type is signed, too."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
