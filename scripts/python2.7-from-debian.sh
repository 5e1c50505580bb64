#!/bin/sh
# Python 2.7 for a machine that has none, unpacked from the packages of Debian 11, the last to carry it.
#
# usage: python2.7-from-debian.sh DIR
#
# Leaves DIR/usr/bin/python2.7, its headers, and in DIR/lib the libraries that newer releases do not have. Nothing is
# installed. Does nothing when it is there already. Needs: apt, dpkg-deb.
set -eu
dir=${1:?usage: python2.7-from-debian.sh DIR}
packages='python2.7 python2.7-minimal libpython2.7-stdlib libpython2.7-minimal libpython2.7-dev libssl1.1 libffi7'
. "$(dirname "$0")/other-release.sh"

[ ! -e "$dir/.complete" ] || exit 0
echo "python2.7: taking it from Debian 11's packages" >&2
rm -rf "$dir"
mkdir -p "$dir/.work" "$dir/lib"
dir=$(cd "$dir" && pwd)
other_release "$dir/.work" deb bullseye
(cd "$dir/.work" && apt -o Dir::State::status=/dev/null download $packages >>apt.log 2>&1) || {
    cat "$dir/.work/apt.log" >&2
    exit 1
}
for package in "$dir"/.work/*.deb; do
    dpkg-deb --extract "$package" "$dir"
done
cp "$dir"/usr/lib/*/lib*.so.* "$dir/lib"
rm -rf "$dir/.work"
touch "$dir/.complete"
