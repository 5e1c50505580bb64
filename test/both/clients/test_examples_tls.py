"""The chat and the task board with TLS, each by one changed line, in Chromium: over HTTP/2, WebSocket included, and over HTTP/1.1.

Which version of HTTP brought what is told by the browser. Leaves screenshots in _build/screenshots.
"""

import json
import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from conftest import CERTIFICATE, ROOT, SERVER, chromium, cowboy_differs

SCREENSHOTS = ROOT / "_build" / "screenshots"
FILES = f'{{certfile, "{CERTIFICATE}"}}, {{keyfile, "{CERTIFICATE.with_suffix(".key")}"}}'

# The line that starts each example's listener, before and since: start_tls, the certificate, and the option for WebSockets over HTTP/2.
LINES = {
    "chat": (
        "case Server:start_clear(chat, [{port, Port}], #{env => #{dispatch => Dispatch}}) of",
        f"case Server:start_tls(chat, [{{port, Port}}, {FILES}], #{{enable_connect_protocol => true, env => #{{dispatch => Dispatch}}}}) of",
    ),
    "taskboard": (
        "case (listener()):start_clear(taskboard, [{port, Port}], options()) of",
        f"case (listener()):start_tls(taskboard, [{{port, Port}}, {FILES}], (options())#{{enable_connect_protocol => true}}) of",
    ),
}

# Says where the application's listener is; ends with stdin, as the other servers of these tests do.
RUN = """
    ok = application:load({name}),
    ok = application:set_env({name}, listener, {server}),
    ok = application:set_env({name}, port, 0),
    {{ok, _}} = application:ensure_all_started({name}),
    io:format("port ~b~n", [{api}:get_port({name})]),
    eof = io:get_line(""),
    ok = application:stop({name}),
    halt().
"""


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """Copies of the examples, each with one line changed, compiled."""
    place = tmp_path_factory.mktemp("examples")
    for name, (line, with_tls) in LINES.items():
        shutil.copytree(ROOT / "examples" / name, place / name, ignore=shutil.ignore_patterns("_build"))
        source = place / name / "src" / f"{name}_app.erl"
        text = source.read_text()
        assert text.count(line) == 1, f"{name} starts its listener in another line"
        source.write_text(text.replace(line, with_tls))
        subprocess.run(["rebar3", "compile"], cwd=place / name, stdin=subprocess.DEVNULL, check=True)
    return place


@contextmanager
def running(place, name):
    """The changed example; gives its URL."""
    api = {"outrider": "outrider", "cowboy": "ranch"}[SERVER]
    server = subprocess.Popen(
        ["erl", "-noshell", "+Bd", "-pa", f"_build/default/lib/{name}/ebin", "-eval", RUN.format(name=name, server=SERVER, api=api)],
        cwd=place / name, env={**os.environ, "PORT": "0", "SERVER": SERVER}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    try:
        line = server.stdout.readline()
        assert line.startswith("port "), f"the {name} said {line!r}"
        yield f"https://localhost:{int(line.split()[1])}/"
    finally:
        server.stdin.close()
        try:
            assert server.wait(30) == 0
        finally:
            server.kill()
            server.stdout.close()


@pytest.fixture(params=["h2", "http/1.1"])
def protocol(request):
    return request.param


@pytest.fixture
def browser(tmp_path, protocol):
    yield from chromium(tmp_path, *["--disable-http2"] * (protocol == "http/1.1"), logs=("browser", "performance"))


def until(browser, what, script, *arguments):
    """Waits until the expression is true in the page."""
    WebDriverWait(browser, 30, poll_frequency=0.05).until(lambda _: browser.execute_script(f"return {script}", *arguments), what)


def carriers(browser):
    """By which protocols the page and all that it has fetched came, as the browser says."""
    script = "return [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
    entries = browser.execute_script(script)
    assert len(entries) > 2, "the page and its files"
    return {entry["nextHopProtocol"] for entry in entries}


def websocket_answers(browser):
    """The answers to WebSocket handshakes, as the browser says: 101, or 200 to the extended CONNECT of HTTP/2."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [m["params"]["response"] for m in messages if m["method"] == "Network.webSocketHandshakeResponseReceived"]


def all_came_by(protocol, browser, example):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(SCREENSHOTS / f"{example}-tls-{protocol.replace('/', '-')}.png")
    assert carriers(browser) == {protocol}
    (answer,) = websocket_answers(browser)
    assert answer["status"] == {"h2": 200, "http/1.1": 101}[protocol]
    assert ("sec-websocket-accept" in answer["headers"]) == (protocol == "http/1.1")
    assert "content-encoding" not in answer["headers"]
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_the_chat(changed, browser, protocol):
    said = "document.querySelector('.said .words')?.textContent === arguments[0]"
    with running(changed, "chat") as url:
        browser.get(url)
        browser.find_element(By.ID, "name").send_keys("Ann")
        browser.find_element(By.CSS_SELECTOR, "#enter button").click()
        until(browser, "the WebSocket", "document.querySelector('#status').textContent === 'connected'")
        browser.find_element(By.ID, "text").send_keys(f"by {protocol}")
        browser.find_element(By.ID, "send").click()
        until(browser, "the room", said, f"by {protocol}")
        all_came_by(protocol, browser, "chat")


def test_the_task_board(request, changed, browser, protocol):
    if (SERVER, protocol) == ("cowboy", "h2"):
        request.applymarker(cowboy_differs("cowboy_compress_h compresses WebSockets over HTTP/2"))
    title = "document.querySelector('[data-status=' + arguments[0] + '] .title')?.textContent === arguments[1]"
    with running(changed, "taskboard") as url:
        browser.get(url + "login")
        browser.find_element(By.NAME, "name").send_keys("ada")
        browser.find_element(By.NAME, "password").send_keys("together")
        browser.find_element(By.CSS_SELECTOR, "button").click()
        until(browser, "who is here, by the WebSocket", "document.querySelector('#present li')?.textContent === 'ada'")
        browser.find_element(By.NAME, "title").send_keys(f"by {protocol}")
        browser.find_element(By.CSS_SELECTOR, "#add button").click()
        until(browser, "the task, by an event", title, "todo", f"by {protocol}")
        browser.find_element(By.CSS_SELECTOR, "[data-status=todo] button[title=On]").click()
        until(browser, "moved, by the WebSocket", title, "doing", f"by {protocol}")
        all_came_by(protocol, browser, "taskboard")
