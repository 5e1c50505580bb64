"""Starts what the client tests talk to.

SERVER in the environment names the listener module: `outrider` (the default), or `cowboy` to hold the tests themselves
against the original. ERL_LIBS must find it; the Makefile sees to that.
"""

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
SERVER = os.environ.get("SERVER", "outrider")

# It starts the example on both by itself.
collect_ignore = [] if SERVER == "outrider" else ["test_chat.py"]


def cowboy_differs(defect):
    """Marks a test of something that Outrider does right and Cowboy does not: there the test has to fail."""
    return pytest.mark.xfail(SERVER == "cowboy", reason=defect, strict=True)


@contextmanager
def echo_server(*options):
    """An echo server with the given handler options (`key=ErlangTerm`); gives its URL, ends it by closing its stdin."""
    server = subprocess.Popen(
        [HERE / "echo_server", SERVER, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        line = server.stdout.readline()
        assert line.startswith("port "), f"the echo server said {line!r}"
        yield f"ws://127.0.0.1:{int(line.split()[1])}/"
    finally:
        server.stdin.close()
        try:
            assert server.wait(timeout=30) == 0
        finally:
            server.kill()
            server.stdout.close()


@pytest.fixture(scope="session")
def plain():
    """A server that does not compress, and that takes messages of up to 4 MiB."""
    with echo_server("max_frame_size=4194304") as url:
        yield url


@pytest.fixture(scope="session")
def compressing():
    """A server that compresses when the client asks for it."""
    with echo_server("compress=true", "max_frame_size=4194304") as url:
        yield url
