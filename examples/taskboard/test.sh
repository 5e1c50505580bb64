#!/bin/sh
# Runs the board's own tests, each on Cowboy and on Outrider.
#
# usage: test.sh
#
# Outrider must be built: it is found in _build/default/lib of its repository, Cowboy and gun in _build/erl_libs where
# Hex does not answer. The last line is `taskboard: N passed, N failed`. Exits with 1 if a test failed or could not be
# run.
set -u
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
export ERL_LIBS="${ERL_LIBS:+$ERL_LIBS:}$root/_build/default/lib:$root/_build/erl_libs"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
{
    rebar3 ct 2>&1 </dev/null
    echo "exit status $?"
} | tee "$log" | grep -v 'exit status [0-9]*$'

awk '
    { gsub(/\033\[[0-9;]*m/, "") }
    /All [0-9]+ tests passed/ { for (i = 1; i < NF; i++) if ($i == "All") passed = $(i + 1) }
    /(Skipped|Failed) [0-9]+ / {
        for (i = 1; i < NF; i++) {
            if ($i == "Passed") passed = $(i + 1) + 0
            if ($i == "Failed" || $i == "Skipped") failed += $(i + 1)
        }
    }
    /^exit status/ { status = $3 }
    END {
        if (status != 0 && !failed || !passed && !failed) failed = 1
        printf "taskboard: %d passed, %d failed\n", passed, failed
        exit failed > 0
    }' "$log"
