#!/bin/sh
# The listener on the oldest Ranch that a Cowboy of today is built with: the 1.8 of its git tags and older lock files.
#
# usage: ranch.sh
#
# Debian 11's rabbitmq-server carries Ranch 1.7.1, compiled. From it to 1.8.1 nothing but TLS has changed, which Outrider does
# not use. The package is fetched with apt, without touching the system's own list of sources, and kept in _build/ranch. The
# suites run on Outrider alone: Cowboy answers otherwise there than with the Ranch that they expect.
set -eu
cd "$(dirname "$0")/../.."

version=1.7.1
release=bullseye
package=rabbitmq-server
libs=$PWD/_build/ranch

fetch() {
    mkdir -p "$libs/work/lists/partial"
    uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -n 1)
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [signed-by=$keyring] ${uri:?apt knows no Debian archive} $release main" >"$libs/work/sources.list"
    set -- -q -o APT::Sandbox::User=root -o Dir::Etc::SourceList="$libs/work/sources.list" \
        -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$libs/work/lists"
    apt-get "$@" update >"$libs/work/apt.log" 2>&1 &&
        (cd "$libs/work" && apt-get "$@" download "$package/$release" >>apt.log 2>&1) ||
        { cat "$libs/work/apt.log" >&2; exit 1; }
    dpkg-deb --fsys-tarfile "$libs/work/$package"_*.deb |
        tar --extract --directory "$libs/work" --wildcards --transform 's|.*/||' "*/ranch-$version.ez"
    erl -noshell -eval '[Archive, Dir] = init:get_plain_arguments(), {ok, _} = zip:unzip(Archive, [{cwd, Dir}]), halt().' \
        -extra "$libs/work/ranch-$version.ez" "$libs"
    rm -rf "$libs/work"
}

# Its own ERL_LIBS: the Cowboy that is there anyway, and this Ranch.
if [ ! -e "$libs/ranch-$version/ebin/ranch.app" ]; then
    rm -rf "$libs"
    fetch
fi
for app in cowlib cowboy gun; do
    for place in "$PWD/_build/erl_libs/$app" "$PWD/_build/test/lib/$app" "$PWD/_build/default/lib/$app"; do
        [ ! -d "$place/ebin" ] || { ln -sfn "$place" "$libs/$app"; break; }
    done
done
export ERL_LIBS="$libs"
erl -noshell -eval "ok = application:load(ranch), {ok, \"$version\"} = application:get_key(ranch, vsn), halt()."

OUTRIDER_TEST_SERVERS=outrider scripts/suites.sh --suite \
    test/both/listener_SUITE,test/both/listener_connections_SUITE,test/both/listener_options_SUITE,test/faults/outrider_failures_SUITE
