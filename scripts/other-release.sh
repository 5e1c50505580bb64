# apt for another release of Debian than this machine's, from the same mirror, without touching the system's own lists. To
# be sourced.
#
# usage: other_release WORK deb|deb-src RELEASE
#
# Sets up lists in the folder WORK and reads them; `apt` then is apt-get with these and no others.

other_release() {
    work=$1
    uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -n 1)
    [ -n "$uri" ] || { echo "apt knows no Debian archive" >&2; return 1; }
    keyrings=$(ls /usr/share/keyrings/debian-archive-*.gpg | grep -E '(keyring|removed-keys).gpg$' | paste -sd,)
    mkdir -p "$work/lists/partial"
    echo "$2 [signed-by=$keyrings] $uri $3 main" >"$work/sources.list"
    apt update >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; return 1; }
}

# apt runs its downloads as another user, which must be able to reach the folder; as root it need not drop its rights.
apt() {
    apt-get -q -o APT::Sandbox::User=root -o Dir::Etc::SourceList="$work/sources.list" \
        -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$work/lists" "$@"
}
