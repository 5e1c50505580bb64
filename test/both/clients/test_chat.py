"""The example's chat page in Chromium: two tabs, with windows and sessions of their own, and the server's end.

Leaves screenshots in _build/screenshots.
"""

import signal

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from conftest import ROOT, Example

SCREENSHOTS = ROOT / "_build" / "screenshots"


class Tab:
    """One person's tab."""

    def __init__(self, driver):
        self.driver = driver
        self.handle = driver.current_window_handle

    def find(self, selector):
        self.driver.switch_to.window(self.handle)
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector):
        self.driver.switch_to.window(self.handle)
        script = "return [...document.querySelectorAll(arguments[0])].map((element) => element.textContent)"
        return self.driver.execute_script(script, selector)

    def until(self, selector, texts):
        """Waits until the texts of the elements are these."""
        try:
            WebDriverWait(self.driver, 30, poll_frequency=0.05).until(lambda _: self.texts(selector) == texts)
        except Exception:
            assert self.texts(selector) == texts

    def enter(self, url, name, room="lobby"):
        self.driver.switch_to.window(self.handle)
        self.driver.get(url)
        self.find("#name").send_keys(name)
        self.find("#room").clear()
        self.find("#room").send_keys(room)
        self.find("#enter button").click()
        self.until("#status", ["connected"])

    def say(self, text):
        self.find("#text").send_keys(text)
        self.find("#send").click()

    def screenshot(self, name):
        self.driver.switch_to.window(self.handle)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(SCREENSHOTS / f"{name}.png")


@pytest.fixture(params=["outrider", "cowboy"])
def chat(request):
    chat = Example("chat", request.param)
    yield chat
    chat.kill(signal.SIGTERM)


@pytest.fixture
def tabs(browser):
    first = Tab(browser)
    browser.switch_to.new_window("tab")
    return first, Tab(browser)


def test_two_tabs_talk_and_see_each_other_come_and_go(chat, tabs):
    ann, bo = tabs
    url = f"http://127.0.0.1:{chat.port}/"
    ann.enter(url, "Ann")
    ann.until("#people .name", ["Ann"])
    bo.enter(url, "Bo")
    bo.until("#people .name", ["Bo", "Ann"])
    ann.until("#people .name", ["Ann", "Bo"])

    ann.say("Hello, who is there?")
    bo.until(".said .words", ["Hello, who is there?"])
    bo.say("Bo, in another tab: <b>naïve</b> 水")
    ann.until(".said .words", ["Hello, who is there?", "Bo, in another tab: <b>naïve</b> 水"])
    ann.until(".said.mine b", ["Ann"])
    ann.screenshot("chat")
    ann.driver.set_window_size(420, 760)
    bo.screenshot("chat-narrow")

    bo.find("#leave").click()
    ann.until("#people .name", ["Ann"])
    ann.until(".note:last-child", ["Bo went away."])
    assert [entry for entry in ann.driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_rooms_are_apart(chat, tabs):
    ann, bo = tabs
    url = f"http://127.0.0.1:{chat.port}/"
    ann.enter(url, "Ann", "red & blue")
    bo.enter(url, "Bo", "green")
    ann.say("in red")
    bo.say("in green")
    ann.until(".said .words", ["in red"])
    bo.until(".said .words", ["in green"])
    bo.until("#people .name", ["Bo"])


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=lambda end: end.name)
def test_page_comes_back_after_the_server_went_away(chat, tabs, end):
    ann, bo = tabs
    url = f"http://127.0.0.1:{chat.port}/"
    ann.enter(url, "Ann")
    bo.enter(url, "Bo")
    ann.until("#people .name", ["Ann", "Bo"])

    chat.kill(end)
    ann.until("#status", ["reconnecting"])
    assert not ann.find("#send").is_enabled()
    ann.screenshot("chat-reconnecting")

    chat.start()
    ann.until("#status", ["connected"])
    bo.until("#status", ["connected"])
    bo.say("there again")
    ann.until(".said .words", ["there again"])
    ann.until("#people .name", ["Ann", "Bo"])


def test_page_is_compressed_by_permessage_deflate(chat, browser):
    """The handler says `compress`, and Chromium offers it."""
    browser.get(f"http://127.0.0.1:{chat.port}/")
    script = """
        const done = arguments[0], socket = new WebSocket(`ws://${location.host}/rooms/lobby?name=Ann`);
        socket.onopen = () => done(socket.extensions);
        socket.onerror = () => done("failed");"""
    assert browser.execute_async_script(script).startswith("permessage-deflate")
