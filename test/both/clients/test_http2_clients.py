"""Clients of HTTP/2 that are no browsers: httpx and h2 of Python, curl, nghttp, h2load, openssl; over TLS by ALPN, in the clear by
prior knowledge.

Gun is not among them: Debian's, 1.3.3, has no WebSocket over HTTP/2.
"""

import asyncio
import re
import socket
import ssl
import subprocess
from contextlib import contextmanager

import h2.config
import h2.connection
import h2.events
import h2.settings
import httpx
import pytest
from wsproto.frame_protocol import FrameProtocol, Opcode

from conftest import CERTIFICATE, TLS, cowboy_differs, echo_server

BODY = bytes(range(256)) * 12000


@pytest.fixture(scope="module", params=[[], TLS], ids=["http", "https"])
def url(request):
    """A server of both versions; a WebSocket echo is at its root."""
    with echo_server("enable_connect_protocol=true", *request.param) as url:
        yield url.replace("ws", "http", 1)


def run(*command, **options):
    return subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE, **options).stdout


def test_httpx(url):
    async def talk():
        trust = ssl.create_default_context(cafile=CERTIFICATE)
        async with httpx.AsyncClient(http1=False, http2=True, verify=trust, timeout=60) as client:
            page = await client.get(url + "page")
            assert (page.http_version, page.status_code, page.headers["content-type"]) == ("HTTP/2", 200, "text/html")
            bodies = await asyncio.gather(*[client.post(url + "body", content=BODY[n:]) for n in range(20)])
            assert [answer.content == BODY[n:] for n, answer in enumerate(bodies)] == [True] * 20
            assert (await client.get(url + "nowhere")).status_code == 404

    asyncio.run(talk())


@pytest.mark.parametrize("flag, version", [("--http1.1", "1.1"), ("--http2", "2"), ("--http2-prior-knowledge", "2")])
def test_curl(request, url, flag, version):
    if flag == "--http2" and url.startswith("http:"):
        request.applymarker(cowboy_differs("it takes the upgrade, which a request with a body does not survive"))
        version = "1.1"  # It asks for the upgrade that RFC 9113 has taken back.
    told = ["-sS", flag, "--cacert", str(CERTIFICATE), "-o", "-", "-w", "%{stderr}%{http_version} %{http_code}", "-H", "Expect:"]
    sent = subprocess.run(["curl", *told, "--data-binary", "@-", url + "body"], input=BODY, capture_output=True, timeout=60)
    assert (sent.returncode, sent.stderr, sent.stdout == BODY) == (0, f"{version} 200".encode(), True)


def test_nghttp(url):
    frames = run("nghttp", "-nv", url + "page", text=True)
    assert re.search(r":status: 200", frames)
    assert ("The negotiated protocol: h2" in frames) == url.startswith("https:")


def test_h2load(url):
    told = run("h2load", "-n", "2000", "-c", "10", "-m", "50", url + "page", text=True)
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in told


def test_openssl(url):
    if url.startswith("https:"):
        address = url.removeprefix("https://").strip("/")
        for offered, taken in [("h2,http/1.1", "h2"), ("http/1.1", "http/1.1"), ("http/1.1,h2", "h2")]:
            told = run("openssl", "s_client", "-connect", address, "-alpn", offered, "-CAfile", CERTIFICATE, stdin=subprocess.DEVNULL)
            assert f"ALPN protocol: {taken}\n".encode() in told and b"Verify return code: 0 (ok)" in told


class Connection:
    """The state machine of `h2` and a socket."""

    def __init__(self, tcp):
        self.socket = tcp
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.events = []
        self.send()

    def send(self):
        self.socket.sendall(self.h2.data_to_send())

    def until(self, kind):
        """The next event of that kind; those before it are dropped."""
        while True:
            while self.events:
                event = self.events.pop(0)
                if isinstance(event, h2.events.DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if isinstance(event, kind):
                    return event
            received = self.socket.recv(65536)
            assert received, f"no {kind.__name__} came"
            self.events = self.h2.receive_data(received)
            self.send()


@contextmanager
def connection(url):
    host, port = re.fullmatch(r"https?://(.*):(\d+)/", url).groups()
    with socket.create_connection((host, int(port)), timeout=60) as tcp:
        if url.startswith("https:"):
            context = ssl.create_default_context(cafile=CERTIFICATE)
            context.set_alpn_protocols(["h2"])
            with context.wrap_socket(tcp, server_hostname=host) as tls:
                assert tls.selected_alpn_protocol() == "h2"
                yield Connection(tls)
        else:
            yield Connection(tcp)


def test_a_websocket_by_h2(url):
    with connection(url) as client:
        settings = client.until(h2.events.RemoteSettingsChanged).changed_settings
        assert settings[h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL].new_value == 1
        client.h2.send_headers(1, [
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", url.split(":")[0]), (":path", "/"), (":authority", "localhost"),
            ("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat"),
        ])
        client.send()
        answer = dict(client.until(h2.events.ResponseReceived).headers)
        assert (answer[":status"], answer["sec-websocket-protocol"]) == ("200", "chat")
        frames = FrameProtocol(client=True, extensions=[])
        for message in ["hello", "x" * 10000]:
            client.h2.send_data(1, frames.send_data(message))
            client.send()
            echo = ""
            while len(echo) < len(message):
                frames.receive_bytes(client.until(h2.events.DataReceived).data)
                echo += "".join(frame.payload for frame in frames.received_frames())
            assert echo == message
        client.h2.send_data(1, frames.close(1000))
        client.send()
        frames.receive_bytes(client.until(h2.events.DataReceived).data)
        assert [frame.opcode for frame in frames.received_frames()] == [Opcode.CLOSE]
        client.until(h2.events.StreamEnded)
