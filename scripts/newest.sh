#!/bin/sh
# Runs the checks and suites once more with the newest Erlang and Cowboy: those of Debian's development release.
#
# usage: newest.sh [--all | COMMAND ...]
#
# Makes, once, a root of that release in _build/newest/root, from the mirror that apt is configured with: remove the folder
# to have it made anew. Copies the tree into it, with the sidecar as it is built here, and runs the given command from its
# top, or what depends on the versions most: compiling, undefined calls, units, the suites that compare both servers, the demo;
# with --all all suites, and the types. Every command is run though an earlier one has failed. Needs Debian, root,
# debootstrap (scripts/setup.sh brings it) and the right to mount: the mounts are in a namespace of their own, as are the
# processes, and end with this script.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
new=$top/_build/newest
root=$new/root
packages='erlang-base erlang-dev erlang-common-test erlang-dialyzer erlang-eunit erlang-ssl rebar3
    erlang-cowboy erlang-cowlib erlang-ranch ca-certificates curl iproute2 libfaketime nghttp2-client procps python3'

fail() {
    echo "newest: $*" >&2
    exit 1
}

# Makes the root, if there is none with these packages.
make_root() {
    [ "$(cat "$root/.packages" 2>/dev/null)" != "$packages" ] || return 0
    uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -n 1)
    [ -n "$uri" ] || fail "apt knows no Debian archive"
    echo "newest: making a root of Debian's development release" >&2
    rm -rf "$root"
    mkdir -p "$root"
    debootstrap --variant=minbase sid "$root" "$uri" >"$new/root.log" 2>&1 || failed_root debootstrap
    apt-config dump Acquire >"$root/etc/apt/apt.conf.d/10host"
    # A mirror that lags is as good.
    echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/20lag"
    printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/doc/*' 'path-exclude=/usr/share/man/*' \
        'path-exclude=/usr/share/locale/*' >"$root/etc/dpkg/dpkg.cfg.d/small"
    chroot "$root" apt-get -q update >>"$new/root.log" 2>&1 || failed_root apt-get
    without_desktop >>"$new/root.log" 2>&1 || failed_root dpkg
    chroot "$root" sh -c "
        DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $(echo $packages)
        apt-get clean" >>"$new/root.log" 2>&1 </dev/null || failed_root apt-get
    printf '%s' "$packages" >"$root/.packages"
}

# rebar3 depends on erlang-wx, and this on 200 packages of a desktop. An empty one stands in.
without_desktop() {
    version=$(chroot "$root" apt-cache show --no-all-versions erlang-wx | sed -n 's/^Version: //p')
    mkdir -p "$root/tmp/erlang-wx/DEBIAN"
    printf '%s\n' 'Package: erlang-wx' "Version: $version" 'Architecture: all' 'Maintainer: nobody' \
        'Description: stands in for the real one' >"$root/tmp/erlang-wx/DEBIAN/control"
    chroot "$root" sh -c 'dpkg-deb --build /tmp/erlang-wx && dpkg --install /tmp/erlang-wx.deb && apt-mark hold erlang-wx'
}

failed_root() {
    tail -n 20 "$new/root.log" >&2
    fail "$1 failed"
}

# In the namespace: lays the tree into the root, at the same place so that cargo finds what it built, and runs there.
inside() {
    # A mount point of its own, for what makes namespaces in it.
    mount --rbind "$root" "$root"
    cd "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --rbind /sys "$root/sys"
    mount -t tmpfs tmpfs "$root/tmp"

    rm -rf "$new/tree"
    mkdir -p "$new/tree" "$new/build" "$root$top"
    (cd "$top" && git ls-files -z --cached --others --exclude-standard) |
        tar -C "$top" --create --null --ignore-failed-read --files-from - 2>/dev/null | tar -C "$new/tree" --extract
    bind "$new/tree" "$top"
    # Gun is not among Debian's packages: where it does not come from Hex, the same sources serve.
    if [ -e "$top/_build/erl_libs/gun" ]; then
        mkdir -p "$new/build/erl_libs"
        cp -R "$top/_build/erl_libs/gun" "$new/build/erl_libs"
    fi
    bind "$new/build" "$top/_build"
    for kept in target bench/target bench/results; do
        mkdir -p "$top/$kept"
        bind "$top/$kept" "$top/$kept"
    done
    toolchain=$(cd "$top" && rustc --print sysroot)
    bind "$toolchain" "$toolchain"
    cargo_home=${CARGO_HOME:-$HOME/.cargo}
    bind "$cargo_home" "$cargo_home"

    cd "$root$top"
    exec chroot "$root" /usr/bin/env ERL_LIBS="$top/_build/erl_libs" CARGO_HOME="$cargo_home" CARGO_NET_OFFLINE=true PATH="$toolchain/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
        sh -c 'cd "$0"; "$@"; exit $?' "$top" "$@"
}

bind() {
    mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
}

# In the root: every check, also after one that failed.
checks() {
    failed=
    for check; do
        echo "newest: $check"
        $check || failed="$failed, $check"
    done
    [ -z "$failed" ] || fail "failed:${failed#,}"
    echo "newest: all passed with Erlang $(erl -noshell -eval 'io:put_chars(erlang:system_info(otp_release)), halt().')," \
        "Cowboy $(dpkg-query -W -f '${Version}' erlang-cowboy)"
}

# The demo starts, and its page is there.
demo() {
    mkfifo /tmp/demo
    PORT=0 timeout 120 scripts/demo.sh >/tmp/demo &
    while read -r line; do
        address=$(expr "$line" : '.*\(http://[^ ]*\)') && break
    done </tmp/demo
    curl --silent --fail --max-time 10 --output /dev/null "${address:?demo: did not start}"
    status=$?
    kill $!
    return $status
}

case ${1:-} in
--checks)
    checks 'rebar3 compile' 'rebar3 xref' 'rebar3 eunit' 'scripts/suites.sh --dir test/both' demo
    ;;
--all-checks)
    checks 'rebar3 compile' 'rebar3 xref' 'rebar3 dialyzer' 'rebar3 eunit' scripts/suites.sh demo
    ;;
--inside)
    shift
    inside "$@"
    ;;
*)
    [ "$(id -u)" = 0 ] || fail "must be root, to make a root of another Debian release and to run in it"
    command -v debootstrap >/dev/null || fail "no debootstrap; on Debian, scripts/setup.sh test installs it"
    [ "${1:-}" != --all ] || packages="$packages tshark"
    make_root
    case ${1:-} in
    '') set -- scripts/newest.sh --checks ;;
    --all) set -- scripts/newest.sh --all-checks ;;
    esac
    exec unshare --mount --pid --fork --kill-child "$0" --inside "$@"
    ;;
esac
