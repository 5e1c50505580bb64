"""Chromium over TLS: its page comes by HTTP/2, and its WebSocket over the same connection where the server announces RFC 8441."""

from conftest import SERVER, served

TALK = """
    const done = arguments[arguments.length - 1];
    const socket = new WebSocket(`wss://${location.host}/ws`);
    const got = [];
    socket.onmessage = ({data}) => {
        got.push(data);
        if (got.length == 1) socket.send("x".repeat(100000));
        if (got.length == 2) socket.close(1000, "bye");
    };
    socket.onclose = ({code, wasClean}) => done([got[0], got[1] && got[1].length, code, wasClean]);
"""


def page(browser, port):
    browser.get(f"https://localhost:{port}/")
    protocol = browser.execute_script("return performance.getEntriesByType('navigation')[0].nextHopProtocol")
    return protocol, browser.execute_async_script(TALK)


def test_the_page_and_its_websocket_come_by_http_2(trusting_browser):
    with served("tls_server", SERVER, "enable_connect_protocol=true") as port:
        assert page(trusting_browser, port) == ("h2", ["HTTP/2", 100000, 1000, True])


def test_the_websocket_comes_by_http_1_1_unless_it_is_enabled(trusting_browser):
    with served("tls_server", SERVER) as port:
        assert page(trusting_browser, port) == ("h2", ["HTTP/1.1", 100000, 1000, True])
