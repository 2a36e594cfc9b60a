"""The authority of the certificate that pods report to."""

from __future__ import annotations

import base64
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from trainingjob.cluster import ClusterError, Conflict, Gateway, Refused, Unavailable
from trainingjob.controller.certificate import Authority, authority

NOW = datetime.now(UTC)
ONE, OTHER = Authority.make(NOW), Authority.make(NOW)


def test_what_a_secret_holds_is_the_same_authority() -> None:
    found = Authority.of(ONE.data)
    assert found is not None
    assert found.pem == ONE.pem


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"ca.crt": ONE.data["ca.crt"]}, id="no key"),
        pytest.param(ONE.data | {"ca.key": OTHER.data["ca.key"]}, id="the key of another"),
        pytest.param(ONE.data | {"ca.key": "e30="}, id="a key that is none"),
        pytest.param(ONE.data | {"ca.crt": "%"}, id="no base64"),
        pytest.param(
            ONE.data | {"ca.crt": base64.b64encode(b"-----BEGIN").decode()}, id="cut short"
        ),
    ],
)
def test_what_cannot_be_used_is_no_authority(data: dict[str, str]) -> None:
    assert Authority.of(data) is None


@pytest.mark.parametrize(("days", "valid"), [(0, True), (3284, True), (3286, False), (4000, False)])
def test_it_is_replaced_a_year_before_its_end(days: int, valid: bool) -> None:
    assert ONE.valid(NOW + timedelta(days=days)) is valid


@pytest.mark.parametrize("host", ["op.team.svc", "127.0.0.1"])
@pytest.mark.parametrize(
    ("trusted", "asked", "fault"),
    [
        pytest.param(ONE, None, None, id="whoever trusts it"),
        pytest.param(OTHER, None, "certificate verify failed", id="whoever trusts another"),
        pytest.param(ONE, "elsewhere.svc", "mismatch", id="under another name"),
    ],
)
def test_a_client_is_served(
    host: str, trusted: Authority, asked: str | None, fault: str | None
) -> None:
    client = ssl.create_default_context(cadata=trusted.pem)
    # Also what Python asks of a certificate from 3.13 on.
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        shake_hands(ONE.server(host, NOW), client, asked or host)
        told = None
    except ssl.SSLCertVerificationError as error:
        told = str(error)
    assert (told is None) is (fault is None)
    assert fault is None or fault in str(told)


def test_each_day_brings_another_certificate_to_clients_of_the_same_server() -> None:
    server = ONE.server("op.team.svc", NOW)
    client = ssl.create_default_context(cadata=ONE.pem)
    seen = []
    for again in (False, True):
        if again:
            ONE.renew(server, "op.team.svc", NOW + timedelta(minutes=1))
        found = x509.load_der_x509_certificate(shake_hands(server, client, "op.team.svc"))
        assert found.not_valid_after_utc - NOW <= timedelta(days=30, minutes=1)
        uses = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert [*uses] == [ExtendedKeyUsageOID.SERVER_AUTH]
        seen.append(found.serial_number)
    assert len({*seen}) == 2


def test_none_is_good_for_longer_than_its_authority() -> None:
    end = ONE.certificate.not_valid_after_utc
    client = ssl.create_default_context(cadata=ONE.pem)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    late = ONE.server("op.team.svc", end - timedelta(days=5))
    told = x509.load_der_x509_certificate(shake_hands(late, client, "op.team.svc"))
    assert told.not_valid_after_utc == end


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> bytes:
    """In memory; the certificate that the client was shown."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    left = set(sides)
    for _ in range(10):
        for side in sides:
            try:
                side.do_handshake()
                left.discard(side)
            except ssl.SSLWantReadError:
                pass
    assert not left
    return sides[0].getpeercert(binary_form=True) or b""


class Server:
    """Holds one Secret; its first answers are these errors."""

    def __init__(self, *errors: ClusterError) -> None:
        self.errors, self.stored = list(errors), {"metadata": {}, "data": ONE.data}

    async def secret(self, _namespace: str, _name: str) -> dict[str, Any]:
        if self.errors:
            raise self.errors.pop(0)
        return self.stored


def test_each_job_has_a_key_of_its_own_as_long_as_the_secret_is_kept() -> None:
    kept = Authority.of(ONE.data)
    assert kept is not None
    first, second = ONE.seal_key("uid-1"), ONE.seal_key("uid-2")
    assert len(bytes.fromhex(first)) == 32
    assert first != second
    assert kept.seal_key("uid-1") == first
    assert replace(ONE, kept=False).seal_key("uid-1") == ""


@pytest.mark.parametrize(
    ("errors", "kept"),
    [
        pytest.param([], True, id="at once"),
        pytest.param([Unavailable("busy", 429)], True, id="not at once"),
        pytest.param([Conflict("changed")] * 2, True, id="another operator was faster"),
        pytest.param([Refused("forbidden", 403)], False, id="no rights"),
        pytest.param([Unavailable("broken", 500)] * 99, False, id="never"),
    ],
)
async def test_the_secret_is_asked_for_until_it_is_clear_that_it_cannot_be_had(
    errors: list[ClusterError], kept: bool
) -> None:
    gateway = cast("Gateway", Server(*errors))
    found = await authority(gateway, "team", "status", NOW, pause=0.0)
    assert (found.pem == ONE.pem) is kept
