"""The processes that train together, as torch.distributed connects them."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from trainingjob.api.payload import POD_IP

from ..base.errors import StageFailure, is_of_a_device, is_out_of_memory
from ..base.log import log
from ..base.text import listed, one_line
from .blame import lost_peer
from .place import Place, is_loopback

# Pods of a gang start minutes apart while images are pulled. The operator ends earlier what can
# never succeed; this is for gangs without an operator that watches.
RENDEZVOUS_SECONDS = float(os.environ.get("TRAININGJOB_RENDEZVOUS_SECONDS", 600))
# The others wait so long while rank 0 writes to a slow storage. A dead peer is noticed at once.
COLLECTIVE_SECONDS = 600
# While it reads or writes a whole model: the stage has deadlines of its own.
_PATIENCE = timedelta(days=7)
# Until all have read why the gang ends.
_GOODBYE = timedelta(seconds=10)
# Where a container has its GPUs.
_DEVICES = Path("/dev")


def pick_device(place: Place) -> torch.device:
    """A GPU of this rank's own, which becomes torch's current one; the CPU when there are not
    enough for all ranks here, which the log says."""
    index, here = place.on_this_machine
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if here <= count:
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
        return device
    if index == 0 and count:
        log(
            f"warning: {here} processes have {count} GPUs here, of which each needs one of its "
            "own: they compute on the CPU; lower procsPerNode, or ask for more GPUs"
        )
    elif index == 0 and (found := sorted(_DEVICES.glob("nvidia[0-9]*"))):
        log(
            f"warning: torch {torch.__version__} cannot use {found[0]}, and computes on the CPU: "
            "its CUDA is newer than the driver, or it has none"
        )
    return torch.device("cpu")


class Gang:
    """Collectives. A gang of one needs no connections: there they do nothing.

    On GPUs they come back before they are done: whoever reads the result on the CPU waits for it.
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
            _must_be_alike(store, place, device)
            dist.init_process_group(
                "gloo" if device.type == "cpu" else "nccl",
                store=store,
                rank=place.rank,
                world_size=place.world,
                timeout=timedelta(seconds=COLLECTIVE_SECONDS),
                device_id=None if device.type == "cpu" else device,
            )
            # NCCL connects at the first collective, and tells when its result is asked for.
            met = torch.zeros(1, device=device)
            dist.all_reduce(met)
            met.item()
            self._store = store
        except (RuntimeError, OSError) as error:
            if is_out_of_memory(error):
                raise StageFailure("OutOfMemory", one_line(error)) from error
            raise StageFailure(
                "RendezvousFailed",
                f"rank {self.rank} of {self.world} could not meet the others at {where}: "
                f"{_words(error)}",
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
        """Wait for all ranks, also on GPUs."""
        here = torch.zeros(1, device=self.device)
        self.all_reduce(here)
        try:
            here.item()
        except RuntimeError as error:
            raise self._peer_lost(error) from error

    def all_can(self, here: bool) -> bool:
        """Whether every rank can: what one of them cannot, all leave."""
        without = torch.tensor([float(not here)], device=self.device)
        self.all_reduce(without)
        return without.item() == 0

    def leave(self) -> None:
        """The end of every gang: when rank 0 has written what it writes, and all others are here,
        nobody needs the connections any more, and they are closed."""
        self.wait_for_first()
        self.barrier()
        if self.world > 1:
            dist.destroy_process_group()

    def _peer_lost(self, error: RuntimeError) -> StageFailure:
        if is_out_of_memory(error):
            return StageFailure("OutOfMemory", one_line(error))
        # What was begun before is often told by the next call.
        if is_of_a_device(error) and not lost_peer(error):
            return StageFailure("DeviceFailed", f"rank {self.rank}: {_words(error)}")
        return StageFailure(
            "PeerLost", f"rank {self.rank} lost the connection to the others: {_words(error)}"
        )


def _words(error: Exception) -> str:
    """NCCL tells what has failed first, and at last why."""
    _, _, why = str(error).partition("Last error:")
    return f"{one_line(error)}: {one_line(why)}" if why.strip() else one_line(error)


def _must_be_alike(store: Any, place: Place, device: torch.device) -> None:
    """Ranks on GPUs and ranks on CPUs would wait for each other in vain."""
    store.set(f"device-{place.rank}", device.type)
    keys = [f"device-{rank}" for rank in range(place.world)]
    kinds = [one.decode() for one in store.multi_get(keys)]
    if len({*kinds}) > 1:
        few = [str(rank) for rank, kind in enumerate(kinds) if kind == "cpu"]
        store.set(f"known-{place.rank}", "")
        if place.rank == 0:  # with which the store goes
            with suppress(RuntimeError):
                store.wait([f"known-{rank}" for rank in range(place.world)], _GOODBYE)
        raise StageFailure(
            "DeviceFailed",
            f"ranks {listed(few)} of {place.world} have no GPU of their own that torch can use, "
            "and the others have",
        )


def _listen(place: Place) -> int | None:
    """A listening socket for the store, on the one address at which the others look for it: that of
    this pod, or loopback when all ranks are here. None where it is not known.

    The store asks nobody for a password; by itself it listens on every interface.
    """
    address = place.address if is_loopback(place.address) else os.environ.get(POD_IP)
    if not address:
        return None
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, place.port), family=family).detach()
