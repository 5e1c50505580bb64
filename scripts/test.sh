#!/bin/sh
# Runs every check and test, each as a target of the Makefile of its own, and sums up.
#
# usage: test.sh
#
# A failed step does not keep the others from running. The output of each is shown, and left in _build/log/STEP.log; what
# the failed ones say of their failures is shown once more before the table, and their names after it, with those of tests that
# failed and passed when they ran again (scripts/suites.sh), for a reader who has only the end. The last line is `N passed, N failed`:
# tests are counted from what their runners report, a step that reports no numbers counts as one, and a test that was skipped counts
# as failed. Exits with 1 if anything failed.
set -u
cd "$(dirname "$0")/.."

steps='format clippy floors deny test-rust build xref dialyzer test-units test-suites test-tls test-http2 test-clients test-metrics test-taskboard test-dependency test-package
    test-elixir test-ranch test-newest autobahn-quick autobahn-tls soak-quick fuzz-quick'
log=_build/log
mkdir -p $log
rm -f $log/*

# Sums what the runners of a step say: cargo test, Common Test and EUnit by rebar3, pytest, ExUnit, Autobahn.
# Prints "PASSED FAILED".
count() {
    awk '
        { gsub(/\033\[[0-9;]*m/, "") }
        /^test result:/ { passed += $4; failed += $6 + $8 }
        /^All [0-9]+ tests passed/ { passed += $2 }
        /^[0-9]+ tests?, [0-9]+ failures?/ { skipped = $6 ~ /^skip/ ? $5 : 0; passed += $1 - $3 - skipped; failed += $3 + skipped }
        /^(Skipped|Failed) [0-9]+ .*tests\./ {
            for (i = 1; i < NF; i++) {
                if ($i == "Passed") passed += $(i + 1)
                if ($i == "Failed" || $i == "Skipped") failed += $(i + 1)
            }
        }
        /^unsteady: / { passed++; failed-- }
        / in [0-9.]+s( |$)/ {
            for (i = 1; i < NF; i++) {
                if ($(i + 1) ~ /^passed/) passed += $i
                if ($(i + 1) ~ /^(failed|errors?|skipped)/) failed += $i
            }
        }
        /^autobahn [a-z]+: [0-9]+ of [0-9]+ cases passed/ { passed += $3; failed += $5 - $3 }
        END { print passed + 0, failed + 0 }' "$1"
}

# The lines that name what failed, with some of those that follow each; of a step that names nothing its last lines.
failures() {
    grep -aE -A 15 '^(%%% .*FAILED|.*panicked at|error(\[|:)|FAILED |E  |Failures:)|(FAILED|failed)$' "$1" | head -n 40 |
        grep -a . || tail -n 15 "$1"
}

# The names of the cases that failed in a step, or are unsteady: cargo test, Common Test, pytest. One for each line.
failed_cases() {
    sed -n -e 's/\x1b\[[0-9;]*m//g' \
        -e 's/^\(\(failed\|unsteady\): .*\)/\1/p' \
        -e 's/^test \(.*\) \.\.\. FAILED$/failed: \1/p' \
        -e 's/^FAILED \(.* - .*\)/failed: \1/p' \
        -e 's/^PASSED \(.*\)/unsteady: \1/p' "$1" | sort -u | head -n 10 | cut -c 1-600 | sed "s/^/  $2: /"
}

passed=0
failed=0
table=
failed_steps=
for step in setup-test $steps; do
    echo
    echo "=== $step"
    begin=$(date +%s)
    {
        make "$step" 2>&1 </dev/null
        echo $? >$log/status
    } | tee "$log/$step.log"
    status=$(cat $log/status)
    took=$(($(date +%s) - begin))

    set -- $(count "$log/$step.log")
    if [ "$status" -ne 0 ] && [ "$2" -eq 0 ]; then
        set -- "$1" 1
    elif [ "$status" -eq 0 ] && [ "$1" -eq 0 ] && grep -q 'Running Common Test suites' "$log/$step.log"; then
        status=1 # A VM that is stopped from outside ends with 0, too: only the sum says that all cases have run.
        set -- 0 1
    elif [ "$status" -eq 0 ] && [ "$1" -eq 0 ]; then
        set -- 1 0
    fi
    word=ok
    [ "$status" -eq 0 ] && [ "$2" -eq 0 ] || { word=FAILED; failed_steps="$failed_steps $step"; }
    passed=$((passed + $1))
    failed=$((failed + $2))
    table="$table$(printf '%-16s %-6s %5d passed %4d failed %5d s' "$step" "$word" "$1" "$2" "$took")
"
    [ "$step" != setup-test ] || [ "$status" -eq 0 ] || break
done

for step in $failed_steps; do
    echo
    echo "=== $step: failures"
    failures "$log/$step.log"
done
echo
printf '%s\n' "$table"
for step in $steps; do
    [ ! -e "$log/$step.log" ] || failed_cases "$log/$step.log" "$step"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
