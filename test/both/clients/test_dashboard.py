"""The dashboard of the example's chat in Chromium: numbers that move, orders for those who may give them, and hostile clients.

Leaves screenshots in _build/screenshots.
"""

import signal
import socket
import subprocess
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait
from websockets.sync.client import connect

from conftest import ROOT, Example

SCREENSHOTS = ROOT / "_build" / "screenshots"


@pytest.fixture(scope="module")
def chat():
    chat = Example("chat")
    yield chat
    chat.kill(signal.SIGTERM)


class Page:
    def __init__(self, driver, url):
        self.driver = driver
        driver.get(url)
        self.until("status", lambda: self.text("#status") == "live")

    def until(self, what, condition):
        WebDriverWait(self.driver, 30, poll_frequency=0.1).until(lambda _: condition(), what)

    def text(self, selector):
        return self.driver.execute_script("return document.querySelector(arguments[0]).textContent", selector)

    def number(self, tile, n=0):
        script = "return history[history.length - 1].values[arguments[0]][arguments[1]]"
        return self.driver.execute_script(script, tile, n)

    def rows(self, part):
        """The rows of the clients' table that have this in them, all looked at in one moment: the page removes those that are over."""
        script = "return [...document.querySelectorAll('#clients tbody tr')].filter((row) => row.textContent.includes(arguments[0]))"
        return self.driver.execute_script(script, part)

    def is_quiet(self):
        assert [entry for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def url(chat, host="localhost"):
    return f"http://{host}:{chat.port}/dashboard"


def client(chat, room, name="Ann"):
    return connect(f"ws://127.0.0.1:{chat.port}/rooms/{room}?name={name}", open_timeout=30)


def test_numbers_follow_what_happens(chat, browser):
    page = Page(browser, url(chat))
    assert browser.title.startswith("chat · ") and page.text("#listener") == "chat"
    page.until("the page's own WebSocket", lambda: page.number(0) == 1)
    with client(chat, "one") as ann, client(chat, "one", "Bo") as bo:
        page.until("three WebSockets", lambda: page.number(0) == 3)

        def talked():
            ann.send("say\thello")
            bo.recv(30)
            return page.number(1, 0) > 0 and page.number(1, 1) > 0 and page.number(2, 1) > 0

        page.until("messages both ways", talked)
        assert page.rows("/rooms/one")
        Select(browser.find_element(By.ID, "sort")).select_by_value("age")
        page.until("sorted by age", lambda: "/dashboard/socket" in page.text("#clients tbody tr"))
    page.until("one WebSocket", lambda: page.number(0) == 1)
    page.until("the closes", lambda: "1000 normalclient2" in page.text("#closes tbody"))
    assert len(browser.find_element(By.CSS_SELECTOR, ".tile path.first").get_attribute("d")) > 20
    page.is_quiet()


def test_kick_and_trace_for_who_may(chat, browser):
    page = Page(browser, url(chat))
    with client(chat, "kicked") as ann, client(chat, "kept") as bo:
        page.until("the client", lambda: page.rows("/rooms/kicked"))
        row = page.rows("/rooms/kicked")[0]
        trace, kick = row.find_elements(By.TAG_NAME, "button")

        trace.click()
        page.until("looking", lambda: page.text("#trace-note") == "looking")
        ann.send("say\tsecret")
        page.until("its frames", lambda: {"→ receivedtext", "← senttext"} <= {frame[1:] for frame in page.driver.execute_script(
            "return [...document.querySelectorAll('#trace tbody tr')].map((row) => '.' + row.cells[1].textContent + row.cells[2].textContent)")})
        assert "secret" not in page.text("#trace")
        browser.find_element(By.CSS_SELECTOR, "#trace button").click()

        kick.click()
        assert kick.text == "Sure?"
        assert page.rows("/rooms/kicked"), "it is asked first"
        kick.click()
        page.until("kicked", lambda: page.text("#clients-note").endswith("kicked"))
        with pytest.raises(Exception, match="1008"):
            while True:
                ann.recv(30)
        page.until("it is gone", lambda: not page.rows("/rooms/kicked"))
        assert page.rows("/rooms/kept")
        bo.send("say\tstill here")
    page.is_quiet()


def test_who_may_only_look_has_no_buttons_and_sees_nobodys_address(chat, browser):
    with client(chat, "private"):
        page = Page(browser, url(chat, "127.0.0.2"))
        page.until("clients", lambda: page.number(0) == 2 and len(page.rows("open")) == 2)
        assert browser.find_elements(By.CSS_SELECTOR, "#clients button") == []
        text = page.text("#clients")
        assert "/rooms" not in text and "127.0.0" not in text
    page.is_quiet()


@pytest.fixture
def open_listener():
    """The ports of a listener whose clients may ask for any path, and of the dashboard that shows it."""
    command = [Path(__file__).parent / "dashboard_server"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield [int(port) for port in server.stdout.readline().split()[1:]]
    finally:
        server.stdin.close()
        server.wait(30)
        server.stdout.close()


def test_a_hostile_path_does_not_run(open_listener, browser):
    websockets, dashboard = open_listener
    page = Page(browser, f"http://localhost:{dashboard}/")
    path = "/<img/src=x/onerror=window.ran=1></script><script>window.ran=1</script>\"'&amp;"
    with socket.create_connection(("127.0.0.1", websockets)) as hostile:
        hostile.sendall(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert hostile.recv(1000).startswith(b"HTTP/1.1 101")
        page.until("the path as text", lambda: page.rows(path))
        assert browser.find_elements(By.CSS_SELECTOR, "#clients img, #clients script") == []
        page.rows(path)[0].find_element(By.TAG_NAME, "button").click()
        page.until("the title", lambda: path in page.text("#trace-title"))
        assert browser.execute_script("return window.ran") is None
    # No script of anybody else would run either.
    script = "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s); return window.ran"
    assert browser.execute_script(script) is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_nothing_beside_its_screen(chat, browser, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    with client(chat, "a-room-with-a-name-that-is-as-long-as-a-name-may-be-and-then-some-more-of-it"):
        page = Page(browser, url(chat))
        page.until("the client", lambda: page.rows("/rooms/a-room"))
        assert browser.execute_script("return document.documentElement.scrollWidth") == 360
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(SCREENSHOTS / f"dashboard-phone-{scheme}.png")
    page.is_quiet()


def test_the_page_comes_back_with_its_server(browser):
    chat = Example("chat")
    try:
        page = Page(browser, url(chat))
        Select(browser.find_element(By.ID, "sort")).select_by_value("idle")
        chat.kill()
        page.until("reconnecting", lambda: page.text("#status") == "reconnecting")
        chat.start()
        page.until("live", lambda: page.text("#status") == "live")
        page.until("sorted as before", lambda: browser.execute_script("return document.getElementById('sort').value") == "idle")
    finally:
        chat.kill(signal.SIGTERM)


def test_a_server_that_stands_still_is_not_called_live(browser):
    chat = Example("chat")
    try:
        page = Page(browser, url(chat))
        chat.process.send_signal(signal.SIGSTOP)
        page.until("silent", lambda: page.text("#status").startswith("silent for "))
        chat.process.send_signal(signal.SIGCONT)
        page.until("live", lambda: page.text("#status") == "live")
        page.is_quiet()
    finally:
        chat.process.send_signal(signal.SIGCONT)
        chat.kill(signal.SIGTERM)
