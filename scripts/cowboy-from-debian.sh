#!/bin/sh
# Cowboy, Cowlib, Ranch and Gun for a machine that cannot reach Hex.
#
# usage: cowboy-from-debian.sh DIR
#
# Debian carries their sources inside the source package of rabbitmq-server. This script fetches that package with apt
# (without touching the system's own list of sources), compiles the four applications with erlc and leaves each in
# DIR/<name>, which is meant to stand on ERL_LIBS. It does nothing when DIR already holds them. Needs: apt, dpkg-dev is
# not needed (the archive is only downloaded, then unpacked with tar), erlc, xz.
set -eu

dir=${1:?usage: cowboy-from-debian.sh DIR}
release=trixie
package=rabbitmq-server
apps='cowlib ranch cowboy gun' # in the order in which they must be compiled
. "$(dirname "$0")/other-release.sh"

[ -e "$dir/.complete" ] && exit 0
echo "cowboy: taking the sources from Debian's $package" >&2

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
work=$(mktemp -d "$dir/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

other_release "$work" deb-src "$release"
(cd "$work" && apt source --download-only "$package" >>apt.log 2>&1) || { cat "$work/apt.log" >&2; exit 1; }
tar -xf "$work/$package"_*.orig.tar.xz -C "$work" --wildcards \
    "*/deps/cowlib/*" "*/deps/ranch/*" "*/deps/cowboy/*" "*/deps/gun/*"

for app in $apps; do
    src=$(echo "$work"/*/deps/$app)
    rm -rf "${dir:?}/$app"
    mkdir -p "$dir/$app/ebin"
    cp -R "$src/src" "$dir/$app/src"
    [ ! -d "$src/include" ] || cp -R "$src/include" "$dir/$app/include"
    # erlang.mk writes the .app file from four variables of the Makefile; so do we.
    var() { sed -n "s/^$1 *= *//p" "$src/Makefile" | head -n 1; }
    modules=$(cd "$src/src" && ls ./*.erl | sed 's/^\.\/\(.*\)\.erl$/\1/' | paste -sd, -)
    deps=$(echo "$(var LOCAL_DEPS) $(var DEPS)" | xargs | tr ' ' ',')
    registered=$(cd "$src/src" && ls ./*_sup.erl 2>/dev/null | grep -E "/${app}_(sup|clock)" | sed 's/^\.\/\(.*\)\.erl$/\1/' | paste -sd, -)
    cat >"$dir/$app/ebin/$app.app" <<APP
{application, $app, [
    {description, "$(var PROJECT_DESCRIPTION)"},
    {vsn, "$(var PROJECT_VERSION)"},
    {modules, [$modules]},
    {registered, [$registered]},
    {applications, [kernel, stdlib${deps:+,$deps}]},
    {mod, {${app}_app, []}},
    {env, []}
]}.
APP
    [ -e "$src/src/${app}_app.erl" ] || sed -i '/{mod,/d' "$dir/$app/ebin/$app.app"
    # Behaviours first: their callers are checked against them.
    (cd "$dir/$app/src" &&
        first=$(grep -lE '^-callback' ./*.erl || true) &&
        ERL_LIBS="$dir" erlc +debug_info -I ../include -pa ../ebin -o ../ebin $first &&
        ERL_LIBS="$dir" erlc +debug_info -I ../include -pa ../ebin -o ../ebin ./*.erl) >"$work/erlc.log" 2>&1 || {
        cat "$work/erlc.log" >&2
        exit 1
    }
done
touch "$dir/.complete"
