#!/bin/sh
# Installs what is missing to build and run Outrider on a Debian machine that has a Rust toolchain.
#
# usage: setup.sh demo | test | bench | newest
#
# `demo` is Erlang, rebar3 and Cowboy: enough for `make build` and `make demo`, which need no Rust where OUTRIDER_EXECUTABLE or
# OUTRIDER_PREBUILT says where the sidecar comes from (docs/packaging.md), or where it is in priv. `test` adds what the tests need: the rest
# of Erlang, Chromium, tools to break the network and the clock, tshark, nghttp2's clients, debootstrap for the newest Erlang, the
# Python packages of test/requirements.txt in _build/venv, and promtool. `bench` is nghttp2's clients alone, `newest` debootstrap.
# Does nothing, and says nothing, when all is there. Packages are Debian's and need
# root; who cannot install them is told what to install.
set -eu
cd "$(dirname "$0")/.."

demo_packages='ca-certificates curl gcc libc6-dev xz-utils erlang-base erlang-dev erlang-tools erlang-ssl erlang-inets
    erlang-crypto erlang-public-key erlang-asn1 erlang-runtime-tools erlang-parsetools erlang-syntax-tools
    erlang-common-test erlang-eunit erlang-edoc erlang-xmerl rebar3'
test_packages='erlang-dialyzer g++ git python3 python3-venv chromium chromium-driver iproute2 libfaketime debootstrap elixir tshark openssl
    nghttp2-client'

fail() {
    echo "setup: $*" >&2
    exit 1
}

# installed PACKAGE: true if dpkg has it, in whole.
installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Installs those of the given Debian packages that are not there.
packages() {
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
        fail "this is not Debian; install Erlang/OTP 25 or newer and rebar3 (for the tests: git, python3, chromium, chromedriver)"
    missing=
    for package in "$@"; do
        installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    [ "$(id -u)" = 0 ] || fail "as root, run: apt-get install --no-install-recommends$missing"
    echo "setup: installing$missing" >&2
    mkdir -p _build
    {
        apt-get -q update
        DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $missing
    } >_build/apt.log 2>&1 </dev/null || {
        tail -n 20 _build/apt.log >&2
        fail "apt-get failed"
    }
}

# True if the tools are on the PATH already, from wherever they came.
have() {
    for tool in "$@"; do
        command -v "$tool" >/dev/null || return 1
    done
}

# True if the library is where Debian puts it, and the tests look for it.
libfaketime() {
    ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1
}

# Cowboy comes from Hex with rebar3; where rebar3 cannot have it from there, from Debian.
cowboy() {
    [ ! -e _build/erl_libs/.complete ] && [ ! -e _build/default/lib/cowboy ] || return 0
    mkdir -p _build
    timeout 60 rebar3 get-deps >_build/hex.log 2>&1 </dev/null || scripts/cowboy-from-debian.sh _build/erl_libs
}

# The Python packages of the tests, installed anew when their list changes.
python() {
    [ ! -e _build/venv/requirements.txt ] || ! cmp -s test/requirements.txt _build/venv/requirements.txt || return 0
    echo "setup: making _build/venv" >&2
    rm -rf _build/venv
    python3 -m venv _build/venv
    _build/venv/bin/pip install --quiet --disable-pip-version-check --requirement test/requirements.txt
    cp test/requirements.txt _build/venv/requirements.txt
}

# Prometheus' own checks. Of Debian's package (19 MB) only this program is wanted.
prometheus() {
    [ ! -x _build/promtool ] || return 0
    if have promtool; then
        ln -s "$(command -v promtool)" _build/promtool
        return 0
    fi
    echo "setup: taking promtool from Debian's prometheus" >&2
    work=$(mktemp -d)
    (cd "$work" && apt-get -q update && apt-get -q download prometheus && dpkg-deb -x prometheus_*.deb .) >_build/apt.log 2>&1 || {
        tail -n 20 _build/apt.log >&2
        rm -rf "$work"
        fail "promtool could not be had; put it on the PATH (Debian's package: prometheus)"
    }
    mv "$work/usr/bin/promtool" _build/promtool
    rm -rf "$work"
}

# True if the sidecar comes from elsewhere, or is there.
sidecar() {
    [ -n "${OUTRIDER_EXECUTABLE:-}${OUTRIDER_PREBUILT:-}" ] || [ -x priv/bin/outrider ]
}

have cargo || { [ "${1:-}" = demo ] && sidecar; } ||
    fail "no cargo on the PATH; install Rust 1.88 or newer from https://rustup.rs, or see docs/packaging.md"
case ${1:-} in
demo)
    have erl erlc rebar3 curl xz cc || packages $demo_packages
    cowboy
    ;;
test)
    have erl erlc ct_run dialyzer rebar3 curl xz cc c++ git python3 chromium chromedriver ip debootstrap mix tshark openssl nghttp h2load && libfaketime &&
        python3 -c 'import venv, ensurepip' 2>/dev/null || packages $demo_packages $test_packages
    cowboy
    python
    prometheus
    ;;
bench)
    have h2load || packages nghttp2-client
    ;;
newest)
    have debootstrap || packages debootstrap
    ;;
*)
    echo "usage: setup.sh demo | test | bench | newest" >&2
    exit 2
    ;;
esac
