"""A browser and Python's own TLS: who they take the server for, and what they speak with it."""

import socket
import ssl

import pytest

from conftest import TLS, echo_server

TALK = """
const done = arguments[0], sizes = [];
const ws = new WebSocket("wss://" + location.host + "/");
ws.onopen = () => ws.send("hello");
ws.onmessage = ({data}) => {
    sizes.push(data.length);
    if (sizes.length < 2) ws.send("x".repeat(100000)); else ws.close(4000, "enough");
};
ws.onclose = ({code, wasClean}) => done([isSecureContext, sizes, code, wasClean]);
ws.onerror = () => done("error");
"""


def test_a_page_and_its_websocket(browser):
    with echo_server("compress=true", *TLS) as url:
        browser.get(url.replace("wss:", "https:") + "page")
        assert browser.title == "page"
        browser.set_script_timeout(30)
        assert browser.execute_async_script(TALK) == [True, [5, 100000], 4000, True]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_certificate_is_the_hosts(version):
    context = ssl.create_default_context()
    context.minimum_version = context.maximum_version = version
    with echo_server(*TLS) as url:
        address = "localhost", int(url.split(":")[2].strip("/"))
        with socket.create_connection(address) as tcp, context.wrap_socket(tcp, server_hostname="localhost") as tls:
            assert tls.version() == version.name.replace("_", ".")
        with socket.create_connection(address) as tcp, pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(tcp, server_hostname="example.com")
