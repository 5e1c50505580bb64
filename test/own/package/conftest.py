"""The package that `make package` makes, once for all tests here, and copies of the tree to build from."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@dataclass
class Package:
    """An archive of `make package`, and where the test has unpacked it."""

    archive: Path
    name: str
    sha256: str
    folder: Path

    @property
    def binary(self) -> Path:
        return self.folder / "bin/outrider"


def make_package(tree: Path, out: Path, unpacked: Path, **environment: str) -> Package:
    """Runs scripts/package.sh of a tree."""
    command = [tree / "scripts/package.sh", out]
    line = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, check=True, text=True
    ).stdout
    sha256, archive = line.split()
    subprocess.run(["tar", "-xzf", out / archive, "-C", unpacked], check=True)
    name = archive.removesuffix(".tar.gz")
    return Package(out / archive, name, sha256, unpacked / name)


@pytest.fixture(scope="session")
def package(tmp_path_factory) -> Package:
    """The package of this tree; what Cargo built is kept for the next run."""
    return make_package(ROOT, ROOT / "_build/package", tmp_path_factory.mktemp("package"))


def copy_tree(to: Path, names: list[str]) -> None:
    """Copies files of the repository, named from its root."""
    tar = subprocess.Popen(["tar", "-C", ROOT, "-cf", "-", "--", *names], stdout=subprocess.PIPE)
    subprocess.run(["tar", "-C", to, "-xf", "-"], stdin=tar.stdout, check=True)
    assert tar.wait() == 0


def tracked(*paths: str) -> list[str]:
    """The files of the repository under the given paths, as they are now: committed, changed or new."""
    command = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths]
    names = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.split("\0")
    return sorted({name for name in names if name and (ROOT / name).exists()})
