"""Gun as a client; the checks are in the escript beside this file."""

import subprocess

import pytest

from conftest import HERE


@pytest.mark.parametrize("server, options", [("plain", []), ("compressing", ["compress"])])
def test_gun(server, options, request):
    port = request.getfixturevalue(server).split(":")[2].strip("/")
    client = subprocess.run([HERE / "gun_client", port, *options], stdout=subprocess.PIPE, text=True, timeout=120)
    assert client.returncode == 0, client.stdout
