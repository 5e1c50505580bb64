#!/usr/bin/env python3
"""Takes the README's picture: the chat's dashboard while some hundred people talk, into docs/dashboard.png.

usage: ERL_LIBS=... _build/venv/bin/python scripts/screenshot.py [SECONDS [FOLDER]]

Outrider must be built, and scripts/setup.sh test have run. Starts the chat as `make demo` does, on a free port, and clients of all
kinds: talkative ones, silent ones, some that come and go, a loud one, and three that do not read what they are sent. Takes SECONDS (130, so
that two minutes are drawn). With a FOLDER that gets the pictures instead: the page in light and dark, as wide as a desk and as a phone.
"""

import asyncio
import contextlib
import random
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path

from selenium import webdriver
from websockets.asyncio.client import connect

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "test" / "both" / "clients"))
from conftest import FLAGS, Example

ROOMS = 12
TALKERS = 120
SILENT = 160
PASSERS = 6
SLEEPERS = 3
WORDS = "the quick brown fox jumps over a lazy dog and nobody minds at all".split()


def url(port, room, name):
    return f"ws://127.0.0.1:{port}/rooms/{room}?name={name}"


async def ignore(socket):
    async for _ in socket:
        pass


async def talker(port, n):
    async with connect(url(port, f"room-{n % ROOMS}", f"talker-{n}")) as socket:
        reading = asyncio.create_task(ignore(socket))  # kept, or it would be collected
        while True:
            await asyncio.sleep(random.expovariate(2) * (1 + n % 4))
            await socket.send("say\t" + " ".join(random.choices(WORDS, k=random.randint(3, 60))))


async def silent(port, n):
    async with connect(url(port, f"room-{n % ROOMS}", f"silent-{n}"), compression=None) as socket:
        await ignore(socket)


async def passer(port, n):
    while True:
        socket = await connect(url(port, f"room-{n % ROOMS}", f"passer-{n}"))
        await asyncio.sleep(random.uniform(1, 8))
        await socket.close(random.choice([1000, 1000, 1001, 4000]))


async def shouter(port, n):
    async with connect(url(port, "noisy", f"shouter-{n}"), compression=None) as socket:
        reading = asyncio.create_task(ignore(socket))  # kept, or it would be collected
        while True:
            await asyncio.sleep(0.04)
            await socket.send("say\t" + "x" * 3900)


async def sleeper(port, n):
    """Never reads: its backlog grows until it is ended, and it comes again."""
    while True:
        socket = await connect(url(port, "noisy", f"sleeper-{n}"), max_queue=1, compression=None, ping_interval=None)
        await asyncio.sleep(random.uniform(40, 60))
        socket.transport.abort()


async def crowd(port):
    kinds = [(talker, TALKERS), (silent, SILENT), (passer, PASSERS), (shouter, 1), (sleeper, SLEEPERS)]
    async with asyncio.TaskGroup() as group:
        for kind, count in kinds:
            for n in range(count):
                group.create_task(kind(port, n))
                await asyncio.sleep(0.03)


def talk(port):
    # At the end the chat closes them all.
    with contextlib.suppress(ExceptionGroup):
        asyncio.run(crowd(port))


@contextlib.contextmanager
def browser(width, height, dark=False, phone=False):
    with tempfile.TemporaryDirectory() as folder:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in [*FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}", "--hide-scrollbars"]:
            options.add_argument(flag)
        if phone:
            options.add_experimental_option("mobileEmulation", {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 2}})
        driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        try:
            yield driver
        finally:
            driver.quit()


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 130
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    chat = Example("chat")
    threading.Thread(target=talk, args=[chat.port], daemon=True).start()
    page = f"http://localhost:{chat.port}/dashboard/"
    try:
        with contextlib.ExitStack() as stack:
            pages = {
                (dark, phone): stack.enter_context(browser(*((390, 844) if phone else (1240, 860)), dark=dark, phone=phone))
                for dark in ((False, True) if folder else (False,))
                for phone in ((False, True) if folder else (False,))
            }
            for driver in pages.values():
                driver.get(page)
            threading.Event().wait(seconds)
            for (dark, phone), driver in pages.items():
                name = "dashboard" + ("-dark" if dark else "") + ("-phone" if phone else "") + ".png"
                if phone or folder:
                    height = driver.execute_script("return document.documentElement.scrollHeight")
                    metrics = {"width": 390 if phone else 1240, "height": min(height, 4000), "deviceScaleFactor": 1, "mobile": phone}
                    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
                driver.save_screenshot((folder or ROOT / "docs") / name)
    finally:
        chat.kill(signal.SIGTERM)


if __name__ == "__main__":
    main()
