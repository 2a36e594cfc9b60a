"""The certificate that pods send their reports to: an authority of our own, and what it signs.

The authority lies in a Secret, since pods that run must know us again when we start anew; what it
signs is made at each start, and each day, and lives in memory.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import ipaddress
import logging
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..cluster import ClusterError, Conflict, Gateway, Unavailable

logger = logging.getLogger(__name__)

_CERTIFICATE, _KEY = "ca.crt", "ca.key"
# Nobody has to trust it for anything else, and pods do not outlive it.
_LIFE = timedelta(days=3650)
# With less than that left a new one is made: the longest jobs are shorter.
_LEAST = timedelta(days=365)
# Of what it signs: whoever steals one has it for no longer. A new one is made each day.
_LEAF_LIFE, _LEAF_SECONDS = timedelta(days=30), 24 * 3600.0
# Clocks of nodes differ.
_SKEW = timedelta(hours=1)
# A moment without an answer is not to cost the reports of pods that run; nor are jobs to wait
# for long where Secrets cannot be read.
_TRIES, _PAUSE_SECONDS = 5, 2.0


@dataclass(frozen=True)
class Authority:
    """Signs our certificate. ``kept``: in the Secret, so that the next operator has it, too."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey
    kept: bool = True

    @classmethod
    def make(cls, now: datetime, *, kept: bool = True) -> Authority:
        """A new one."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("trainingjob-operator authority")
        builder = _builder(name, name, key, now, now + _LIFE, signs=True)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        return cls(builder.sign(key, hashes.SHA256()), key, kept)

    @classmethod
    def of(cls, data: Mapping[str, str]) -> Authority | None:
        """From a Secret's data; None when there is none in it, or nothing usable."""
        try:
            certificate = x509.load_pem_x509_certificate(base64.b64decode(data[_CERTIFICATE]))
            key = serialization.load_pem_private_key(base64.b64decode(data[_KEY]), None)
        except (KeyError, ValueError, TypeError):
            return None
        if not isinstance(key, EllipticCurvePrivateKey):
            return None
        return cls(certificate, key) if key.public_key() == certificate.public_key() else None

    @property
    def data(self) -> dict[str, str]:
        """For a Secret."""
        key = _private_pem(self.key)
        return {
            _CERTIFICATE: base64.b64encode(self.pem.encode()).decode(),
            _KEY: base64.b64encode(key).decode(),
        }

    @property
    def pem(self) -> str:
        """The certificate, which is no secret."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def signing_key(self) -> bytes:
        """By which the operator signs its pods: derived, so that the Secret holds nothing else.
        Empty where the next operator would not know them by it."""
        return hmac.digest(_private_pem(self.key), b"pods", "sha256") if self.kept else b""

    def seal_key(self, uid: str) -> str:
        """By which the test split of the job of that uid is sealed: 32 bytes, in hex. Empty where
        the next operator could not read it by then."""
        if not self.kept:
            return ""
        return hmac.digest(_private_pem(self.key), f"seal/{uid}".encode(), "sha256").hex()

    def valid(self, now: datetime) -> bool:
        """Whether it is, and for long enough."""
        return self.certificate.not_valid_after_utc - now > _LEAST

    def server(self, host: str, now: datetime) -> ssl.SSLContext:
        """TLS for a server of that name, until `renew` is due."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.renew(context, host, now)
        return context

    async def renewing(self, context: ssl.SSLContext, host: str) -> None:
        """Renew it each day, until it is cancelled."""
        while True:
            await asyncio.sleep(_LEAF_SECONDS)
            try:
                self.renew(context, host, datetime.now(UTC))
            except (OSError, ssl.SSLError) as error:  # the one before is good for weeks
                logger.warning("the certificate for reports of progress is not renewed: %s", error)

    def renew(self, context: ssl.SSLContext, host: str, now: datetime) -> None:
        """A new certificate for the handshakes to come."""
        key = ec.generate_private_key(ec.SECP256R1())
        until = min(now + _LEAF_LIFE, self.certificate.not_valid_after_utc)
        builder = _builder(_name("trainingjob-operator"), self.certificate.subject, key, now, until)
        builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(host)]), False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(signer, False)
        use = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        signed = builder.add_extension(use, False).sign(self.key, hashes.SHA256())
        # OpenSSL wants a file: this one is in memory alone.
        descriptor = os.memfd_create("certificate")
        try:
            pem = signed.public_bytes(serialization.Encoding.PEM) + _private_pem(key)
            os.write(descriptor, pem)
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)


async def authority(
    gateway: Gateway, namespace: str, name: str, now: datetime, pause: float = _PAUSE_SECONDS
) -> Authority:
    """The one in the Secret, put there if need be.

    Where the Secret cannot be used it is one that nobody keeps: then pods report until we end, and
    those that run already do not.
    """
    fault: ClusterError | None = None
    for _ in range(_TRIES):
        try:
            return await _stored(gateway, namespace, name, now)
        except (Conflict, Unavailable) as error:  # another operator was faster, or no answer
            fault = error
            await asyncio.sleep(pause)
        except ClusterError as error:
            fault = error
            break
    logger.warning(
        "Secret %s/%s: %s; pods will not report to the next operator", namespace, name, fault
    )
    return Authority.make(now, kept=False)


async def _stored(gateway: Gateway, namespace: str, name: str, now: datetime) -> Authority:
    secret = await gateway.secret(namespace, name)
    found = Authority.of(secret.get("data") or {})
    if found is not None and found.valid(now):
        return found
    made = Authority.make(now)
    await gateway.write_secret(secret | {"data": (secret.get("data") or {}) | made.data})
    return made


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePrivateKey,
    now: datetime,
    until: datetime,
    *,
    signs: bool = False,
) -> x509.CertificateBuilder:
    """With what strict clients want to see, as Python is from 3.13 on (RFC 5280)."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before((now - _SKEW).astimezone(UTC))
        .not_valid_after(until.astimezone(UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(_usage(sign=signs), True)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
