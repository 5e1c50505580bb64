#!/bin/sh
# Runs Common Test suites, and looks again at a case that fails.
#
# usage: suites.sh ARGUMENTS OF rebar3 ct
#
# A case may fail because the machine stood still. So up to two that failed run again, each alone and three times: one that passes
# each time is unsteady. It is a race all the same, in the test or in what it tests. Of more than two none runs again. At the end
# each has a line of its own, for `make test` to show: `failed: SUITE CASE: REASON`, or `unsteady: ...`. Exits with 0 if nothing
# has failed. Runs in the current directory, whose suites are below test/.
set -u
log=$(mktemp)
again=$(mktemp)
trap 'rm -f "$log" "$again"' EXIT

# What a run says, into a file and on, without colours.
run() {
    file=$1
    shift
    rebar3 ct "$@" 2>&1 </dev/null | sed -u 's/\x1b\[[0-9;]*m//g' | tee "$file"
}

# A VM that is stopped from outside ends with 0, too: only the sum says that all cases have run.
all_passed() {
    grep -q '^All [0-9]* tests passed' "$1"
}

# SUITE/CASE of each that failed.
failed() {
    sed -n 's|^%%% \([A-Za-z0-9_]*\) ==> \([A-Za-z0-9_]*\): FAILED$|\1/\2|p' "$log"
}

# Three times, alone.
is_unsteady() {
    for _ in 1 2 3; do
        run "$again" --suite "$(find test -name "$1.erl" | head -n 1)" --case "$2" >/dev/null
        all_passed "$again" || return 1
    done
}

# What a case said, on one line.
reason() {
    awk -v head="%%% $1 ==> " -v name="$2" '
        $0 == head name ": FAILED" { here = 1; next }
        here && /^\.*$/ { exit }
        here { sub(/^%%% [^ ]* ==> /, ""); gsub(/[ \t]+/, " "); printf "%s", $0 }' "$log" | cut -c 1-600
}

run "$log" "$@"
all_passed "$log" && exit 0

number=$(failed | wc -l)
status=1
# What was skipped, and a suite that could not begin, are no cases that failed.
[ "$number" -ge 3 ] || ! grep -Eq "^Failed $number tests\. Passed [0-9]+ tests\." "$log" || status=0
may_be_unsteady=$status
for case in $(failed); do
    suite=${case%/*}
    name=${case#*/}
    word=failed
    if [ "$may_be_unsteady" -eq 0 ] && is_unsteady "$suite" "$name"; then word=unsteady; else status=1; fi
    echo "$word: $suite $name: $(reason "$suite" "$name")"
done
exit $status
