"""Large messages: they come back, and nobody else waits for them.

Held on Outrider alone: Cowboy takes minutes for what is here.
"""

import asyncio
import os

import pytest
from conftest import echo_server
from websockets.asyncio.client import connect

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def unlimited():
    with echo_server("compress=true", "max_frame_size=infinity") as url:
        yield url


def client(url, compression=None):
    return connect(url, compression=compression, max_size=None, ping_interval=None)


async def count_echoes(ws, done):
    """Round trips of a small message until `done` is."""
    count = 0
    while not done.done():
        await ws.send("small")
        assert await ws.recv() == "small"
        count += 1
    return count


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("size", [16 * MIB, 64 * MIB], ids=["16MiB", "64MiB"])
def test_large_message_comes_back_while_another_client_is_served(unlimited, size, compression):
    # Half of it compresses well, half does not.
    message = os.urandom(size // 2) + bytes(size // 2)

    async def large():
        async with client(unlimited, compression) as ws:
            await ws.send(message)
            return await ws.recv() == message

    async def talk():
        async with client(unlimited) as other:
            transfer = asyncio.create_task(large())
            count = await count_echoes(other, transfer)
            assert await transfer
            # This client shares its thread with the large one's, and yet gets its turn again and again.
            assert count >= 20

    asyncio.run(asyncio.wait_for(talk(), 240))
