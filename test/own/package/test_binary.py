"""What is in the package: a binary that needs nothing of the system it runs on."""

import hashlib
import os
import re
import shutil
import subprocess
import tarfile

from conftest import ROOT, copy_tree, make_package, tracked
from websockets.sync.client import connect


def test_the_checksum_beside_the_archive_is_its_checksum(package):
    beside = package.archive.with_name(package.archive.name + ".sha256").read_text()
    assert beside == f"{hashlib.sha256(package.archive.read_bytes()).hexdigest()}  {package.archive.name}\n"


def test_version_tells_the_commit_and_the_build(package):
    said = subprocess.run([package.binary, "--version"], capture_output=True, check=True, text=True).stdout
    commit = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short=12", "HEAD"], capture_output=True, check=True, text=True
    ).stdout.strip()
    assert re.fullmatch(
        rf"outrider [0-9.]+ \({os.uname().machine}-linux, static; packaged from {commit}( with changes)? by rustc [0-9.]+\)\n",
        said,
    ), said


def test_the_binary_runs_in_a_root_that_has_nothing_else(package, tmp_path):
    shutil.copy(package.binary, tmp_path / "outrider")
    server = subprocess.Popen(
        ["chroot", tmp_path, "/outrider", "echo", "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True
    )
    try:
        line = server.stderr.readline()
        address = re.search(r"127\.0\.0\.1:\d+", line)
        assert address, line
        with connect(f"ws://{address[0]}/", open_timeout=30) as client:
            client.send("hello" * 1000)
            assert client.recv(timeout=30) == "hello" * 1000
    finally:
        server.kill()
        server.wait()
        server.stderr.close()


def test_the_same_commit_gives_the_same_bytes_elsewhere(package, tmp_path):
    elsewhere = tmp_path / "some/where/else"
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", ROOT, elsewhere], check=True)
    copy_tree(elsewhere, tracked())
    subprocess.run(["git", "-C", elsewhere, "add", "--all"], check=True)
    second = make_package(elsewhere, tmp_path, tmp_path, CARGO_TARGET_DIR=str(tmp_path / "target"))
    assert second.sha256 == package.sha256


def test_the_archive_has_the_licences_of_all_crates_in_the_binary(package):
    tree = subprocess.run(
        ["cargo", "tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    ).stdout
    crates = {"-".join(line.split()[:2]).replace("-v", "-") for line in tree.splitlines()} - {"outrider"}
    with tarfile.open(package.archive) as archive:
        text = archive.extractfile(f"{package.name}/LICENSES-OF-DEPENDENCIES").read().decode()
    headings = {word for line in text.splitlines() for word in line.split()}
    missing = {crate for crate in crates if not crate.startswith("outrider-")} - headings
    assert not missing
