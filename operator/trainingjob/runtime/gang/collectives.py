"""The processes that train together, as torch.distributed connects them."""

from __future__ import annotations

import json
import os
import socket
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..base.errors import StageFailure
from ..base.text import one_line
from .place import Place, is_loopback

# Pods of a gang start minutes apart while images are pulled. The operator ends earlier what can
# never succeed; this is for gangs without an operator that watches.
RENDEZVOUS_SECONDS = float(os.environ.get("TRAININGJOB_RENDEZVOUS_SECONDS", 600))
# The others wait so long while rank 0 writes to a slow storage. A dead peer is noticed at once.
COLLECTIVE_SECONDS = 600
# While it reads or writes a whole model: the stage has deadlines of its own.
_PATIENCE = timedelta(days=7)


def pick_device(place: Place) -> torch.device:
    """A GPU of this rank's own; the CPU when there are not enough for all ranks here."""
    index, here = place.on_this_machine
    if torch.cuda.is_available() and here <= torch.cuda.device_count():
        return torch.device("cuda", index)
    return torch.device("cpu")


class Gang:
    """Collectives. A gang of one needs no connections: there they do nothing.

    Every method raises StageFailure(PeerLost) when another rank is gone.
    """

    def __init__(self, place: Place, device: torch.device) -> None:
        """Meet the other ranks; raises StageFailure(RendezvousFailed)."""
        self.place, self.rank, self.world = place, place.rank, place.world
        self.device, self._waits, self._told = device, 0, 0
        if self.world == 1:
            return
        where = f"{place.address}:{place.port}"
        try:
            store = dist.TCPStore(  # type: ignore[attr-defined]
                place.address,
                place.port,
                place.world,
                place.rank == 0,
                timedelta(seconds=RENDEZVOUS_SECONDS),
                master_listen_fd=_listen(place) if place.rank == 0 else None,
            )
            dist.init_process_group(
                "gloo" if device.type == "cpu" else "nccl",
                store=store,
                rank=place.rank,
                world_size=place.world,
                timeout=timedelta(seconds=COLLECTIVE_SECONDS),
                device_id=None if device.type == "cpu" else device,
            )
            # NCCL connects at the first collective.
            dist.all_reduce(torch.zeros(1, device=device))
            self._store = store
        except (RuntimeError, OSError) as error:
            raise StageFailure(
                "RendezvousFailed",
                f"rank {self.rank} of {self.world} could not meet the others at {where}: "
                f"{one_line(error)}",
            ) from error

    def all_reduce(self, tensor: Tensor) -> None:
        """Sum over the ranks, in place; every rank ends with the same bits."""
        if self.world > 1:
            try:
                dist.all_reduce(tensor)
            except RuntimeError as error:
                raise self._peer_lost(error) from error

    def broadcast(self, tensor: Tensor) -> None:
        """Rank 0's values, in place."""
        if self.world > 1:
            try:
                dist.broadcast(tensor, 0)
            except RuntimeError as error:
                raise self._peer_lost(error) from error

    def broadcast_json(self, value: Any) -> Any:
        """Rank 0's JSON value. (torch's broadcast_object_list would unpickle.)"""
        if self.world == 1:
            return value
        data = bytearray(json.dumps(value).encode())
        length = torch.tensor([len(data)], device=self.device)
        self.broadcast(length)
        text = torch.zeros(int(length), dtype=torch.uint8)
        if self.rank == 0:
            text = torch.frombuffer(data, dtype=torch.uint8)
        text = text.to(self.device)
        self.broadcast(text)
        return json.loads(bytes(text.cpu().numpy()))

    def wait_for_first(self) -> None:
        """Until rank 0 is here, too, which may be long after a collective would have given up. A
        dead rank 0 is noticed at once: it has the store."""
        if self.world == 1:
            return
        self._waits += 1
        key = f"first-{self._waits}"
        try:
            if self.rank == 0:
                self._store.set(key, "here")
            else:
                self._store.wait([key], _PATIENCE)
        except RuntimeError as error:
            raise self._peer_lost(error) from error

    def of_node(self, text: str | None) -> str:
        """What the first rank of this rank's node tells the others of it."""
        if self.place.local_world == 1:
            assert text is not None
            return text
        self._told += 1
        key = f"node-{self.rank - self.place.local_rank}-{self._told}"
        try:
            if text is not None:
                self._store.set(key, text)
            told: bytes = self._store.get(key)
        except RuntimeError as error:
            raise self._peer_lost(error) from error
        return told.decode()

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.all_reduce(torch.zeros(1, device=self.device))

    def leave(self) -> None:
        """Close the connections, when nobody needs them any more."""
        if self.world > 1:
            dist.destroy_process_group()

    def _peer_lost(self, error: RuntimeError) -> StageFailure:
        if isinstance(error, torch.OutOfMemoryError):
            return StageFailure("OutOfMemory", one_line(error))
        return StageFailure(
            "PeerLost", f"rank {self.rank} lost the connection to the others: {one_line(error)}"
        )


def _listen(place: Place) -> int | None:
    """A listening socket for the store, on loopback alone when that is where the ranks are.

    The store asks nobody for a password; by itself it listens on every interface.
    """
    if not is_loopback(place.address):
        return None
    server = socket.create_server((place.address, place.port))
    return server.detach()
