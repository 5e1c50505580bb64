#!/bin/sh
# Fuzzes what reads bytes of others. Fails if a target finds anything; the input is then in fuzz/artifacts.
#
# usage: [SEED=N] fuzz.sh SECONDS [TARGET ...]
#
# Runs each target (all of fuzz/targets by default) for so many seconds, on its corpus (fuzz/corpus, which grows) and its
# seeds (fuzz/seeds, which are part of the repository). Installs cargo-fuzz if it is missing.
#
# With SEED what is tried is the same each time, as far as it comes: the seeds, and what that number makes of them; the corpus
# is left aside. So it is a test of what was found before, and is built in half of the time: hardly optimized, without the sanitizer.
set -eu
seconds=${1:?usage: fuzz.sh SECONDS [TARGET ...]}
shift
cd "$(dirname "$0")/.."

# The instrumentation is not in the stable language, but any compiler has it.
export RUSTC_BOOTSTRAP=1
command -v cargo-fuzz >/dev/null || cargo install --quiet --locked cargo-fuzz
if [ $# -eq 0 ]; then
    set -- $(cargo fuzz list)
fi
build='--target-dir fuzz/target/search'
if [ -n "${SEED:-}" ]; then
    export CARGO_PROFILE_RELEASE_OPT_LEVEL=1
    build='--target-dir fuzz/target/again --sanitizer none'
fi
cargo fuzz build $build
for target in "$@"; do
    echo "fuzz: $target, $seconds s"
    corpus=fuzz/corpus/$target
    if [ -n "${SEED:-}" ]; then
        corpus=_build/fuzz/$target
        rm -rf "$corpus"
    fi
    mkdir -p "$corpus"
    cargo fuzz run $build "$target" "$corpus" "fuzz/seeds/$target" -- -seed="${SEED:-0}" \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1
done
