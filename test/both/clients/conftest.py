"""Starts what the client tests talk to.

SERVER in the environment names the listener module: `outrider` (the default), or `cowboy` to hold the tests themselves
against the original. ERL_LIBS must find it; the Makefile sees to that.
"""

import os
import re
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
SERVER = os.environ.get("SERVER", "outrider")

# The first starts the example on both by itself, the others are for Outrider alone.
collect_ignore = [] if SERVER == "outrider" else ["test_chat.py", "test_dashboard.py", "test_ticker.py"]

# The certificate of servers with TLS, for localhost, which vouches for itself: Python trusts it by this variable, Chromium by a
# hash of its public key.
CERTIFICATE = ROOT / "test" / "vectors" / "tls" / "server.crt"
os.environ["SSL_CERT_FILE"] = str(CERTIFICATE)
PUBLIC_KEY_HASH = subprocess.run(
    f"openssl x509 -in '{CERTIFICATE}' -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64",
    shell=True, check=True, stdout=subprocess.PIPE, text=True,
).stdout.strip()
TLS = [f'certfile="{CERTIFICATE}"', f'keyfile="{CERTIFICATE.with_suffix(".key")}"']

FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run
    --disable-background-networking --disable-component-update --disable-sync""".split()


def cowboy_differs(defect):
    """Marks a test of something that Outrider does right and Cowboy does not: there the test has to fail."""
    return pytest.mark.xfail(SERVER == "cowboy", reason=defect, strict=True)


@contextmanager
def echo_server(*options):
    """An echo server with the given handler options (`key=ErlangTerm`); gives its URL."""
    with served("echo_server", SERVER, *options) as port:
        yield f"{'wss://localhost' if set(TLS) <= set(options) else 'ws://127.0.0.1'}:{port}/"


@contextmanager
def served(script, *arguments):
    """A server that says its port; gives that, ends it by closing its stdin."""
    server = subprocess.Popen([HERE / script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline()
        assert line.startswith("port "), f"{script} said {line!r}"
        yield int(line.split()[1])
    finally:
        server.stdin.close()
        try:
            assert server.wait(timeout=30) == 0
        finally:
            server.kill()
            server.stdout.close()


class Example:
    """An example, run as `make demo` runs it, on a free port that it keeps over a restart."""

    def __init__(self, name, server="outrider"):
        self.name, self.server, self.port = name, server, 0
        self.start()

    def start(self):
        environment = {**os.environ, "PORT": str(self.port), "SERVER": self.server}
        self.process = subprocess.Popen(
            [ROOT / "scripts" / "demo.sh", self.name],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        for line in self.process.stdout:
            if found := re.search(r"http://localhost:(\d+)", line):
                self.port = int(found[1])
                return
        raise AssertionError(f"the {self.name} did not start")

    def kill(self, signal_number=signal.SIGKILL):
        self.process.send_signal(signal_number)
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture
def browser(tmp_path):
    yield from chromium(tmp_path)


@pytest.fixture
def trusting_browser(tmp_path):
    """One that takes the certificates of tests."""
    yield from chromium(tmp_path, "--ignore-certificate-errors")


def chromium(tmp_path, *flags, logs=("browser",)):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {log: "ALL" for log in logs})
    trust = f"--ignore-certificate-errors-spki-list={PUBLIC_KEY_HASH}"
    for flag in [*FLAGS, trust, *flags, f"--user-data-dir={tmp_path}", "--window-size=1100,720"]:
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="session", params=[[], TLS], ids=["ws", "wss"])
def plain(request):
    """A server that does not compress, and that takes messages of up to 4 MiB; one more with TLS."""
    with echo_server("max_frame_size=4194304", *request.param) as url:
        yield url


@pytest.fixture(scope="session")
def compressing():
    """A server that compresses when the client asks for it."""
    with echo_server("compress=true", "max_frame_size=4194304") as url:
        yield url
