"""The example's ticker in Chromium: numbers that change in both modes, and the figures.

Leaves a screenshot in _build/screenshots.
"""

import signal

import pytest
from selenium.webdriver.support.ui import WebDriverWait

from conftest import ROOT, Example

SCREENSHOTS = ROOT / "_build" / "screenshots"


@pytest.fixture
def ticker():
    ticker = Example("ticker")
    yield ticker
    ticker.kill(signal.SIGTERM)


@pytest.fixture
def page(ticker, browser):
    browser.get(f"http://127.0.0.1:{ticker.port}/")
    return browser


def until(page, script):
    """Waits until the expression is true in the page."""
    WebDriverWait(page, 30, poll_frequency=0.05).until(lambda _: page.execute_script(f"return {script}"))


@pytest.mark.parametrize("mode", ["each", "broadcast"])
def test_numbers_change_in_both_modes(page, mode):
    until(page, "cells.size === 2000")
    other = {"each": "broadcast", "broadcast": "each"}[mode]
    for wanted in [other, mode]:
        page.find_element("css selector", f"input[value={wanted}]").click()
        # The first figures that name the mode may tell of the second in which it changed.
        count = f"({{ data }}) => data.startsWith('figures {wanted}') && window.{wanted}++"
        page.execute_script(f"window.{wanted} = 0; socket.addEventListener('message', {count})")
        until(page, f"window.{wanted} > 1")
    page.execute_script("window.before = [...cells.values()].map((cell) => cell.value)")
    until(page, "[...cells.values()].filter((cell, n) => cell.value !== window.before[n]).length > 1000")
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_further_connections_count_as_clients_until_they_are_closed(page):
    more = page.find_element("css selector", "#more")
    for wanted, clients in [("50", "51"), ("0", "1")]:
        more.clear()
        more.send_keys(wanted + "\n")
        until(page, f"document.getElementById('clients').textContent === '{clients}'")
        if wanted == "50":
            until(page, "Number(document.getElementById('deliveries').textContent) > 51")
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            page.save_screenshot(SCREENSHOTS / "ticker.png")


def test_further_connections_come_back_with_the_server(ticker, page):
    more = page.find_element("css selector", "#more")
    more.clear()
    more.send_keys("20\n")
    until(page, "document.getElementById('clients').textContent === '21'")
    ticker.kill()
    until(page, "document.getElementById('status').textContent === 'reconnecting'")
    page.execute_script("document.getElementById('clients').textContent = ''")
    ticker.start()
    until(page, "document.getElementById('clients').textContent === '21'")
