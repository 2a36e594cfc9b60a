"""Tokens of pods, signed by keys that come and go."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, cast

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from trainingjob.cluster import Gateway
from trainingjob.cluster.errors import Unavailable
from trainingjob.controller import tokens
from trainingjob.controller.tokens import Bearer, Tokens, Untrusted, Unverified

KEYS = {name: rsa.generate_private_key(65537, 2048) for name in ("old", "new")}
BOUND_POD: dict[str, Any] = {"name": "gang-train-1-0", "uid": "7"}
BOUND: dict[str, Any] = {"namespace": "team", "pod": BOUND_POD}


class Server:
    """What the API server answers, and how often it was asked."""

    def __init__(self, *names: str, down: bool = False) -> None:
        self.names, self.down, self.asked = names, down, 0

    async def keys(self) -> dict[str, Any]:
        self.asked += 1
        if self.down:
            raise Unavailable("no answer")
        found = [
            json.loads(RSAAlgorithm.to_jwk(KEYS[name].public_key()))
            | {"kid": name, "use": "sig", "alg": "RS256"}
            for name in self.names
        ]
        await asyncio.sleep(0)
        return {"keys": found}


NONE = object()


def token(key: str = "old", seconds: float = 600, **claims: Any) -> str:
    told = {
        "aud": ["trainingjob.dev"],
        "exp": time.time() + seconds,
        "iat": time.time() - 60,
        "iss": "https://kubernetes.default.svc",
        "sub": "system:serviceaccount:team:default",
        "kubernetes.io": BOUND,
        **claims,
    }
    told = {name: value for name, value in told.items() if value is not NONE}
    return jwt.encode(told, KEYS[key], algorithm="RS256", headers={"kid": key})


def reader(server: Server) -> Tokens:
    return Tokens(cast("Gateway", server))


async def test_the_pod_that_a_token_is_bound_to() -> None:
    server = Server("old")
    read = reader(server)
    for _ in range(3):
        assert await read.pod(token()) == Bearer("team", "gang-train-1-0", "7")
    assert server.asked == 1


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(token(seconds=-60), id="expired"),
        pytest.param(token(aud=["https://kubernetes.default.svc"]), id="for the API server"),
        pytest.param(token(aud=None), id="for nobody"),
        pytest.param(token(**{"kubernetes.io": {"namespace": "team"}}), id="of no pod"),
        pytest.param(token(**{"kubernetes.io": "x"}), id="not of Kubernetes"),
        *(
            pytest.param(token(**{claim: NONE}), id=f"without {claim}")
            for claim in ("aud", "exp", "iat", "iss", "sub", "kubernetes.io")
        ),
        *(
            pytest.param(
                token(**{"kubernetes.io": BOUND | {"pod": BOUND_POD | {field: value}}}),
                id=f"of a pod whose {field} is {value!r}",
            )
            for field in ("name", "uid")
            for value in (None, "", 7, ["7"])
        ),
        pytest.param(token("new"), id="of a key that is not the cluster's"),
        pytest.param(
            jwt.encode({"aud": "trainingjob.dev"}, "x" * 64, "HS256", {"kid": "old"}),
            id="signed with a secret",
        ),
        pytest.param(jwt.encode({"aud": "trainingjob.dev"}, None, "none"), id="not signed"),
        pytest.param("nonsense", id="none at all"),
        pytest.param("", id="empty"),
        pytest.param("\udcff", id="no text, as aiohttp gives it"),
    ],
)
async def test_others_are_refused(made: str) -> None:
    with pytest.raises(Untrusted):
        await reader(Server("old")).pod(made)


async def test_a_new_key_is_asked_for_and_made_up_ones_cost_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server("old")
    read = reader(server)
    await read.pod(token())
    server.names = ("old", "new")
    for _ in range(20):
        with pytest.raises(Untrusted):
            await read.pod(token("new"))
    assert server.asked == 1, "not again within seconds"
    monkeypatch.setattr(tokens, "_AGAIN_SECONDS", 0.0)
    assert (await read.pod(token("new"))).uid == "7"
    assert server.asked == 2


async def test_while_keys_cannot_be_read_nothing_is_said_of_the_token() -> None:
    with pytest.raises(Unverified):
        await reader(Server(down=True)).pod(token())


async def test_what_comes_while_the_keys_are_read_waits_for_them() -> None:
    server = Server("old")
    read = reader(server)
    found = await asyncio.gather(*(read.pod(token()) for _ in range(5)))
    assert [bearer.uid for bearer in found] == ["7"] * 5
    assert server.asked == 1


async def test_nor_within_the_seconds_in_which_they_are_not_asked_for_again() -> None:
    server = Server(down=True)
    read = reader(server)
    for _ in range(5):
        with pytest.raises(Unverified):
            await read.pod(token())
    assert server.asked == 1
