#!/bin/sh
# Formats, compiles and tests elixir/, and the root's mix.exs: as a git dependency, and in a release.
#
# usage: test-elixir.sh
#
# With the real Plug, Plug.Cowboy, Phoenix and LiveView where Hex answers, or where OUTRIDER_MIX_DEPS names a folder that has
# their sources and those of all that they need. Elsewhere what needs none of them: that mix builds Outrider with its
# sidecar, and the drainer on a real listener; Cowboy is then found on ERL_LIBS. Says which of the two it was.
set -eu
cd "$(dirname "$0")/../elixir"
export MIX_ENV=test
mkdir -p _build

mix format --check-formatted
if [ -n "${OUTRIDER_MIX_DEPS:-}" ]; then
    echo "elixir: Plug and Phoenix from $OUTRIDER_MIX_DEPS"
    mix test
elif timeout 60 mix local.hex --force >_build/hex.log 2>&1; then
    echo "elixir: Plug and Phoenix from Hex"
    mix local.rebar --force --if-missing
    mix deps.get
    mix test
else
    echo "elixir: Hex does not answer: only what needs neither Plug nor Phoenix"
    mkdir -p _build/no-deps
    OUTRIDER_MIX_DEPS=$PWD/_build/no-deps MIX_BUILD_ROOT=_build/alone mix test test/drainer_test.exs
fi

../test/own/mix-dependency.sh
