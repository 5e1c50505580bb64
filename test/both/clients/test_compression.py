"""permessage-deflate against the Python package `websockets`, which checks each answer to its offer and decodes with zlib.

Windows of 8 bits: zlib cannot compress raw data with one, so `websockets` never offers it for itself.
"""

import asyncio
import itertools
import random

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from conftest import cowboy_differs, echo_server

TAKEOVER = list(itertools.product([False, True], repeat=2))


def texts():
    """Messages whose repetitions lie within one message, between messages, and farther apart than any window."""
    words = [f"{n:x}-outrider" for n in random.Random(1).sample(range(1 << 20), 9000)]
    return ["hello", "hello", "a" * 200_000, " ".join(words + words), " ".join(words[:50]), "hello"]


def exchange(url, **offer):
    """Echoes the messages, whole, as bytes and in fragments; gives the extension as it was negotiated."""

    async def talk():
        extensions = [ClientPerMessageDeflateFactory(**offer)]
        async with connect(url, compression=None, extensions=extensions, max_size=None) as ws:
            assert ws.protocol.extensions, "compression was not negotiated"
            for text in texts():
                await ws.send(text)
                assert await ws.recv() == text
                await ws.send(text.encode())
                assert await ws.recv() == text.encode()
                await ws.send([text[:7], "", text[7:]])
                assert await ws.recv() == text
            return ws.protocol.extensions[0]

    return asyncio.run(asyncio.wait_for(talk(), 60))


@pytest.mark.parametrize("server, client", TAKEOVER)
def test_context_takeover_as_the_client_asks(compressing, server, client):
    extension = exchange(compressing, server_no_context_takeover=server, client_no_context_takeover=client)
    assert extension.remote_no_context_takeover == server
    assert extension.local_no_context_takeover == client


@pytest.mark.parametrize("server, client", TAKEOVER)
def test_context_takeover_as_the_handler_asks(server, client):
    word = {False: "takeover", True: "no_takeover"}
    opts = f"#{{server_context_takeover=>{word[server]},client_context_takeover=>{word[client]}}}"
    with echo_server("compress=true", f"deflate_opts={opts}") as url:
        extension = exchange(url)
    assert extension.remote_no_context_takeover == server
    assert extension.local_no_context_takeover == client


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("no_takeover", [False, True])
def test_window_sizes_as_the_client_asks(compressing, bits, no_takeover):
    extension = exchange(
        compressing,
        server_max_window_bits=bits,
        client_max_window_bits=bits,
        server_no_context_takeover=no_takeover,
        client_no_context_takeover=no_takeover,
    )
    assert (extension.remote_max_window_bits, extension.local_max_window_bits) == (bits, bits)


@pytest.mark.parametrize("bits", [9, 12])
def test_window_sizes_as_the_handler_asks(bits):
    opts = f"#{{server_max_window_bits=>{bits},client_max_window_bits=>{bits}}}"
    with echo_server("compress=true", f"deflate_opts={opts}") as url:
        extension = exchange(url)
    assert (extension.remote_max_window_bits, extension.local_max_window_bits) == (bits, bits)


@cowboy_differs("a second empty message on a connection with context takeover comes back as three bytes")
def test_empty_messages_come_back_empty(compressing):
    async def talk():
        async with connect(compressing, compression="deflate") as ws:
            for message in ["", b"", "", "hello", ""]:
                await ws.send(message)
                assert await ws.recv() == message

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_no_offer_means_no_compression(compressing):
    async def talk():
        async with connect(compressing, compression=None) as ws:
            assert ws.protocol.extensions == []
            await ws.send("plain")
            assert await ws.recv() == "plain"

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_an_offer_to_a_handler_without_compress_is_not_taken(plain):
    async def talk():
        async with connect(plain, compression="deflate") as ws:
            assert ws.protocol.extensions == []
            await ws.send("plain")
            assert await ws.recv() == "plain"

    asyncio.run(asyncio.wait_for(talk(), 60))


@cowboy_differs("2.12 compares the limit with the compressed length alone")
def test_inflated_message_over_max_frame_size_is_refused_with_1009(compressing):
    async def talk():
        async with connect(compressing, compression="deflate", max_size=None) as ws:
            await ws.send("a" * 4194304)
            assert len(await ws.recv()) == 4194304
            await ws.send("a" * 4194305)
            with pytest.raises(ConnectionClosedError) as closed:
                await ws.recv()
            assert closed.value.rcvd.code == 1009

    asyncio.run(asyncio.wait_for(talk(), 60))
