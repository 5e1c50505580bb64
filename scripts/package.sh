#!/bin/sh
# Builds the sidecar for people without a Rust toolchain: outrider-VERSION-TARGET.tar.gz and its checksum.
#
# usage: package.sh [DIR]
#
# DIR is _build/package by default. The binary is linked with glibc itself, so that it runs on any Linux of this machine's
# architecture. The same commit, compiler and crates give the same bytes, wherever the sources and Cargo's folder lie.
# Needs cargo, a C compiler to link with, and git to tell the commit.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root/_build/package}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$root"

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
machine=$(rustc -vV | sed -n 's/^host: \([^-]*\)-.*-linux-.*/\1/p')
[ -n "$machine" ] || { echo "package: packages are for Linux, and built on it" >&2; exit 1; }
name=outrider-$version-$machine-linux
triple=$machine-unknown-linux-gnu

# What was built: a commit, or one with changes, or a tree that is no repository.
commit=$(git rev-parse --short=12 HEAD 2>/dev/null) || commit="no repository"
[ -z "$(git status --porcelain 2>/dev/null)" ] || commit="$commit with changes"
export OUTRIDER_PACKAGED="$commit by rustc $(rustc --version | cut -d ' ' -f 2)"
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}

# Nothing of this machine: neither settings for quicker builds, nor paths.
for setting in $(env | sed -n 's/^\(CARGO_PROFILE_[A-Z_]*\)=.*/\1/p') CARGO_INCREMENTAL CARGO_BUILD_RUSTFLAGS RUSTFLAGS; do
    unset "$setting"
done
cargo_home=${CARGO_HOME:-$HOME/.cargo}
flag=$(printf '\037')
export CARGO_ENCODED_RUSTFLAGS="-Ctarget-feature=+crt-static${flag}--remap-path-prefix=$cargo_home=/cargo${flag}--remap-path-prefix=$root=/outrider"
target=${CARGO_TARGET_DIR:-$root/target}
cargo build --quiet --locked --profile dist --target "$triple" --bin outrider

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/$name/bin"
cp "$target/$triple/dist/outrider" "$work/$name/bin/"
cp LICENSE "$work/$name/"

# The licences of what is in the binary, as their authors wrote them: each text once, with the crates that come under it.
cargo tree --locked --edges normal --target "$triple" --prefix none --format '{p}' | awk '$1 != "outrider" { print $1, substr($2, 2) }' |
    sort -u | while read -r crate number; do
    for text in "$cargo_home"/registry/src/*/"$crate-$number"/LICEN[CS]E* "$cargo_home"/registry/src/*/"$crate-$number"/COPYRIGHT*; do
        [ ! -f "$text" ] || printf '%s %s\n' "$(sha256sum <"$text" | cut -c 1-64)" "$crate-$number $text"
    done
done | LC_ALL=C sort >"$work/licences"
cut -d ' ' -f 1 "$work/licences" | uniq | while read -r hash; do
    grep "^$hash" "$work/licences" | cut -d ' ' -f 2 | LC_ALL=C sort -u | paste -sd ' ' -
    echo
    cat "$(grep -m 1 "^$hash" "$work/licences" | cut -d ' ' -f 3-)"
    printf '\n%80s\n\n' ' ' | tr ' ' '='
done >"$work/$name/LICENSES-OF-DEPENDENCIES"

find "$work/$name" -exec chmod u=rwX,go=rX {} +
tar --create --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" --format=ustar "$name" |
    gzip --no-name --best >"$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" | tee "$name.tar.gz.sha256")
