"""Lets the node's namespace reach ports of this machine's loopback.

    python -I -S relay.py ADDRESS PORT

Listens at ADDRESS:PORT and hands each connection on to 127.0.0.1:PORT.
"""

import asyncio
import socket
import sys

CHUNK = 2**18


async def main(address: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    listener = socket.create_server((address, port), backlog=128)
    listener.setblocking(False)
    tasks = set()
    while True:
        inner, _ = await loop.sock_accept(listener)
        task = loop.create_task(relay(inner, port))
        tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(tasks.discard)


async def relay(inner: socket.socket, port: int) -> None:
    loop = asyncio.get_running_loop()
    outer = socket.socket()
    with inner, outer:
        try:
            for connection in (inner, outer):
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(outer, ("127.0.0.1", port))
            async with asyncio.TaskGroup() as both:
                both.create_task(pour(inner, outer))
                both.create_task(pour(outer, inner))
        except* OSError:
            pass  # one end is gone: so is the other


async def pour(source: socket.socket, target: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, CHUNK):
        await loop.sock_sendall(target, data)
    target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
