"""Where the build takes the sidecar from, in which order, and what it says when it cannot.

Each test runs scripts/sidecar.escript in a tree that holds what it reads and nothing else, with a PATH on which there is
Erlang and no cargo; where it matters whether it is Cargo's turn, a script of that name leaves a mark.
"""

import functools
import http.server
import os
import re
import shutil
import subprocess
import threading

import pytest
from conftest import ROOT, copy_tree

VERSION = re.search(r'vsn, "(.*?)"', (ROOT / "erlang/outrider.app.src").read_text())[1]


class Tree:
    """The script, what it reads, and what is on its PATH."""

    def __init__(self, folder):
        self.root = folder / "tree"
        self.root.mkdir()
        copy_tree(self.root, ["scripts/sidecar.escript", "erlang/outrider.app.src"])
        (self.root / "scripts/sidecar.sha256").touch()
        self.sidecar = self.root / "priv/bin/outrider"
        self.sidecar.parent.mkdir(parents=True)
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in ("escript", "erl", "sh", "touch", "dirname", "basename"):
            (self.bin / tool).symlink_to(shutil.which(tool))

    def add_cargo(self, status=0):
        """A cargo that only says that it was called."""
        self.script(self.bin / "cargo", f"touch {self.root}/cargo-was-called; exit {status}")

    def script(self, path, text):
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def sidecar_of(self, path, version, made="built from source"):
        """Something that calls itself a sidecar of that version."""
        return self.script(path, f'echo "outrider {version} (x86_64-linux, static; {made})"')

    @property
    def cargo_was_called(self):
        return (self.root / "cargo-was-called").exists()

    def run(self, **environment):
        """Exit code, and what it said."""
        environment = {"PATH": str(self.bin), "HOME": os.environ["HOME"]} | environment
        done = subprocess.run(
            ["escript", self.root / "scripts/sidecar.escript"], env=environment, cwd="/", capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


@pytest.fixture
def web(package):
    """A web server for the folder that has the package: its address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=package.archive.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_named_executable_comes_first_and_is_copied(tree, package):
    tree.add_cargo()
    tree.sidecar_of(tree.sidecar, VERSION, "packaged from elsewhere")
    assert tree.run(OUTRIDER_EXECUTABLE=str(package.binary)) == (0, "")
    assert tree.sidecar.read_bytes() == package.binary.read_bytes()
    assert not tree.cargo_was_called


def test_none_leaves_the_place_empty(tree):
    tree.add_cargo()
    assert tree.run(OUTRIDER_EXECUTABLE="none") == (0, "")
    assert not tree.sidecar.exists() and not tree.cargo_was_called


@pytest.mark.parametrize("version", ["0.0.1", "not a version"])
def test_a_named_executable_of_another_version_is_refused_and_nothing_else_is_tried(tree, tmp_path, version):
    tree.add_cargo()
    named = tree.sidecar_of(tmp_path / "named", version)
    status, said = tree.run(OUTRIDER_EXECUTABLE=str(named))
    assert status == 1 and str(named) in said and "name another" in said
    assert not tree.sidecar.exists() and not tree.cargo_was_called


def test_a_named_executable_that_is_not_there_is_refused(tree, tmp_path):
    status, said = tree.run(OUTRIDER_EXECUTABLE=str(tmp_path / "nothing"))
    assert status == 1 and "nothing is not there; name another, or unset it" in said


def test_a_packaged_binary_of_this_version_in_priv_is_kept(tree, web):
    tree.add_cargo()
    tree.sidecar_of(tree.sidecar, VERSION, "packaged from elsewhere")
    before = tree.sidecar.read_bytes()
    assert tree.run(OUTRIDER_PREBUILT=web) == (0, "")
    assert tree.sidecar.read_bytes() == before and not tree.cargo_was_called


def test_a_packaged_binary_of_another_version_in_priv_is_replaced(tree, web, package):
    tree.sidecar_of(tree.sidecar, "0.0.1", "packaged from elsewhere")
    status, _ = tree.run(OUTRIDER_PREBUILT=web, OUTRIDER_PREBUILT_SHA256=package.sha256)
    assert status == 0 and tree.sidecar.read_bytes() == package.binary.read_bytes()


def test_cargo_looks_after_a_binary_that_was_built_from_source(tree):
    tree.add_cargo()
    tree.sidecar_of(tree.sidecar, VERSION)
    assert tree.run() == (0, "")
    assert tree.cargo_was_called


def test_without_cargo_a_binary_that_was_built_from_source_is_kept(tree):
    tree.sidecar_of(tree.sidecar, VERSION)
    assert tree.run() == (0, "")


@pytest.mark.parametrize("scheme", ["web", "file://", ""])
def test_a_prebuilt_one_is_taken_from_an_address(tree, web, package, scheme):
    tree.add_cargo()
    address = web if scheme == "web" else f"{scheme}{package.archive.parent}"
    status, said = tree.run(OUTRIDER_PREBUILT=address, OUTRIDER_PREBUILT_SHA256=package.sha256)
    assert (status, said) == (0, f"outrider: took the sidecar from {address}/{package.archive.name}\n")
    assert tree.sidecar.read_bytes() == package.binary.read_bytes() and os.access(tree.sidecar, os.X_OK)
    assert not tree.cargo_was_called
    assert tree.run(OUTRIDER_PREBUILT="http://127.0.0.1:9") == (0, ""), "the second time it is there"


def test_the_checksum_comes_from_the_repository(tree, web, package):
    with (tree.root / "scripts/sidecar.sha256").open("a") as checksums:
        checksums.write(f"{package.sha256}  {package.archive.name}\n")
    status, said = tree.run(OUTRIDER_PREBUILT=web)
    assert status == 0, said


def test_without_a_checksum_nothing_is_fetched(tree):
    tree.add_cargo()
    status, said = tree.run(OUTRIDER_PREBUILT="http://127.0.0.1:9")
    assert status == 1 and "has no line for" in said and "OUTRIDER_PREBUILT_SHA256" in said
    assert not tree.cargo_was_called


def test_an_archive_with_another_checksum_is_refused(tree, web, package):
    tree.add_cargo()
    wrong = "0" * 64
    status, said = tree.run(OUTRIDER_PREBUILT=web, OUTRIDER_PREBUILT_SHA256=wrong)
    assert status == 1 and package.sha256 in said and wrong in said
    assert not tree.sidecar.exists() and not tree.cargo_was_called


@pytest.mark.parametrize("place", ["web/nowhere", "http://127.0.0.1:9", "/nowhere"])
def test_an_address_that_does_not_answer_is_named(tree, web, package, place):
    tree.add_cargo()
    address = place.replace("web", web)
    status, said = tree.run(OUTRIDER_PREBUILT=address, OUTRIDER_PREBUILT_SHA256=package.sha256)
    assert status == 1 and f"cannot read {address}/{package.archive.name}" in said and "unset it" in said
    assert not tree.cargo_was_called


def test_with_nothing_at_all_it_says_what_to_do(tree):
    status, said = tree.run()
    assert status == 1
    for way in ("https://rustup.rs", f"{tree.root}/priv", "OUTRIDER_PREBUILT", "OUTRIDER_EXECUTABLE"):
        assert way in said


def test_when_cargo_fails_it_says_what_to_do(tree):
    tree.add_cargo(status=101)
    status, said = tree.run()
    assert status == 1 and "exit code 101" in said and "Rust 1.88" in said and "docs/packaging.md" in said
