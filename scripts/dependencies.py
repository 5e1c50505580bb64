#!/usr/bin/env python3
"""Compares docs/dependencies.md with the manifests: the same direct dependencies, each with its licence.

usage: dependencies.py

A section of the document names its manifest in its heading; a row of a table there begins with the dependency's name and
ends with its licence. Prints each difference, and exits with 1 if there is one.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECTION = re.compile(r"^## .*`(.+)`$")
ROW = re.compile(r"^\| `([^`]+)` \|.*\| ([^|]+) \|$")


def documented() -> dict[str, dict[str, str]]:
    """The document's rows: manifest, to name, to licence."""
    sections: dict[str, dict[str, str]] = {}
    manifest = None
    for line in (ROOT / "docs/dependencies.md").read_text().splitlines():
        if section := SECTION.match(line):
            manifest = section[1]
            sections[manifest] = {}
        elif manifest and (row := ROW.match(line)):
            sections[manifest][row[1]] = row[2]
    return sections


def of_cargo(manifest: str) -> dict[str, str]:
    """A crate's direct dependencies and their licences, as Cargo sees them."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path", str(ROOT / manifest)]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    resolve = metadata["resolve"]
    root = next(node for node in resolve["nodes"] if node["id"] == resolve["root"])
    direct = [packages[dependency] for dependency in root["dependencies"]]
    return {package["name"]: package["license"] for package in direct}


def of_rebar(licences: dict[str, str]) -> dict[str, str]:
    """The names in all `{deps, […]}` of rebar.config; it tells no licences, so those of the document are taken for right."""
    lists = re.findall(r"\{deps, \[(.*?)\]\}", (ROOT / "rebar.config").read_text(), re.DOTALL)
    names = [name for deps in lists for name in re.findall(r"\{(\w+),", deps)]
    return {name: licences.get(name, "") for name in names}


def main() -> int:
    sections = documented()
    expected = {manifest: of_cargo(manifest) for manifest in ("Cargo.toml", "bench/Cargo.toml", "fuzz/Cargo.toml")}
    expected["rebar.config"] = of_rebar(sections.get("rebar.config", {}))
    wrong = 0
    for manifest in sorted(expected.keys() | sections.keys()):
        real, written = expected.get(manifest, {}), sections.get(manifest, {})
        for name in sorted(real.keys() | written.keys()):
            if real.get(name) != written.get(name):
                wrong += 1
                print(f"{manifest}: {name}: {real.get(name, 'none')}; docs/dependencies.md: {written.get(name, 'none')}")
    print(f"dependencies: {sum(map(len, expected.values()))} direct ones, {wrong} not as documented")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
