"""The files that a Hex package holds: `files` in erlang/outrider.app.src."""

import os
import re
import subprocess

import pytest
from conftest import ROOT, copy_tree, tracked

APP = (ROOT / "erlang/outrider.app.src").read_text()
FILES = re.findall(r'"([^"]+)"', re.search(r"\{files, \[(.*?)\]\}", APP, re.DOTALL)[1])

# What Hex takes: bytes of the compressed archive.
LIMIT = 8 * 1024 * 1024


@pytest.fixture
def unpacked(tmp_path):
    """What `rebar3 hex build` packs, unpacked where rebar3 has what it uses instead of fetching. It adds the application's
    file under src/, which for us is the sidecar's folder."""
    folder = tmp_path / "project/_checkouts/outrider"
    folder.mkdir(parents=True)
    copy_tree(folder, tracked(*FILES))
    (folder / "src/outrider.app.src").write_text(APP)
    return folder


def test_each_entry_names_something_that_is_there():
    assert [entry for entry in FILES if not tracked(entry)] == []


def test_the_package_is_small_enough(unpacked, tmp_path):
    subprocess.run(["tar", "-czf", tmp_path / "package.tar.gz", "-C", unpacked, "."], check=True)
    assert (tmp_path / "package.tar.gz").stat().st_size < LIMIT


def test_a_project_builds_from_these_files_alone(unpacked):
    project = unpacked.parent.parent
    (project / "src").mkdir()
    (project / "rebar.config").write_text("{deps, [outrider]}.\n")
    (project / "src/project.app.src").write_text(
        '{application, project, [{vsn, "1"}, {applications, [kernel, stdlib, outrider]}]}.\n'
    )
    # What Cargo built of the dependencies may be shared; what is Outrider's own is built anew.
    environment = os.environ | {"CARGO_TARGET_DIR": os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))}
    subprocess.run(["rebar3", "compile"], cwd=project, env=environment, check=True)
    library = project / "_build/default/checkouts/outrider"
    assert (library / "ebin/outrider.app").exists()
    said = subprocess.run([library / "priv/bin/outrider", "--version"], capture_output=True, check=True, text=True).stdout
    assert said.startswith("outrider ") and "built from source" in said
