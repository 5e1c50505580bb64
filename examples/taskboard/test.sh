#!/bin/sh
# Runs the board's own tests, each on Cowboy and on Outrider.
#
# usage: test.sh
#
# Outrider must be built: it is found in _build/default/lib of its repository, Cowboy and gun in _build/erl_libs where
# Hex does not answer. Exits with 1 if a test failed or could not be run.
set -u
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
export ERL_LIBS="${ERL_LIBS:+$ERL_LIBS:}$root/_build/default/lib:$root/_build/erl_libs"
exec "$root/scripts/suites.sh"
