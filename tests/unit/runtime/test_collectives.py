"""The store by which ranks meet listens at one address, as torch's own clients find."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest
import torch.distributed as dist

from trainingjob.api.payload import POD_IP
from trainingjob.runtime.gang.collectives import _listen
from trainingjob.runtime.gang.place import Place

# Of one machine, each an address of its own.
HERE, OTHER = "127.0.0.1", "127.0.0.2"
WHERE = {
    "all ranks are here": (HERE, None, OTHER),
    "all ranks are here, in a pod": (HERE, OTHER, OTHER),
    "in a pod of a gang": ("digits-train.team.svc", OTHER, HERE),
}


@pytest.mark.parametrize(("address", "pod", "closed"), WHERE.values(), ids=WHERE)
def test_the_store_listens_at_one_address(
    address: str, pod: str | None, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pod is not None:
        monkeypatch.setenv(POD_IP, pod)
    place = Place(world=2, address=address, port=free())
    found = HERE if closed == OTHER else OTHER
    fd = _listen(place)
    patience = timedelta(seconds=30)
    store = dist.TCPStore(  # type: ignore[attr-defined]
        found, place.port, 1, True, patience, master_listen_fd=fd
    )
    store.set("key", "value")
    assert store.get("key") == b"value"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((closed, place.port), 5)


def test_without_an_address_of_its_own_torch_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(POD_IP, raising=False)
    assert _listen(Place(world=2, address="digits-train.team.svc", port=free())) is None


def free() -> int:
    with socket.create_server((HERE, 0)) as server:
        return int(server.getsockname()[1])
