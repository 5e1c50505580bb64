"""Gun as a client; the checks are in the escript beside this file."""

import subprocess

from conftest import HERE


def run(url, *options):
    client = subprocess.run([HERE / "gun_client", url, *options], stdout=subprocess.PIPE, text=True, timeout=120)
    assert client.returncode == 0, client.stdout


def test_gun(plain):
    run(plain)


def test_gun_compresses(compressing):
    run(compressing, "compress")
