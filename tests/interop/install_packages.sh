#!/usr/bin/env bash
# Installs the programs that the tests drive, on Debian and its like: install_packages.sh PACKAGE[:PROGRAM]...
#
# Quick where all is there, bounded in time where the network is not. Asks nothing and never fails: where something
# cannot be installed it says why, and the tests that need it skip. Starts no service, neither now nor at the next boot.
set -uo pipefail
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# there PACKAGE[:PROGRAM]: whether its program is.
there() {
    local program=${1#*:}
    command -v "${program%-light}" >/dev/null
}

missing=()
for package in "$@"; do
    there "$package" || missing+=("$package")
done
[ "${#missing[@]}" -eq 0 ] && exit 0

skip() {
    echo "Not installed: ${missing[*]} ($1); the tests that need them will skip."
    exit 0
}

command -v apt-get >/dev/null || skip "there is no apt-get"
as_root=(env)
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || skip "that takes root, and there is no sudo"
    as_root=(sudo -n env)
    "${as_root[@]}" true 2>/dev/null || skip "that takes root, and sudo asks for a password"
fi

log=$(mktemp) || skip "there is no place for a log"
policy=/usr/sbin/policy-rc.d
ours=
clean() {
    rm -f "$log"
    [ -z "$ours" ] || "${as_root[@]}" rm -f "$policy"
}
trap clean EXIT

# Debian asks this file before a package starts its service; 101 forbids it.
if [ ! -e "$policy" ]; then
    ours=yes
    { printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" && "${as_root[@]}" chmod 755 "$policy"; } \
        >/dev/null 2>&1 || skip "services could not be kept from starting: $policy cannot be written"
fi

# apt SECONDS ARGUMENT...: what it says goes to $log.
apt() {
    "${as_root[@]}" DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 timeout --kill-after=10 "$1" \
        apt-get -q -y -o DPkg::Lock::Timeout=30 -o APT::Update::Error-Mode=any \
        -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
        "${@:2}" </dev/null >"$log" 2>&1
}

why() {
    local said
    said=$(grep -m 1 '^E:' "$log")
    echo "${said:-apt-get gave up or was out of time}"
}

echo "Installing ${missing[*]} for the tests ..."
apt 120 update || echo "The package lists could not be brought up to date: $(why)"
for wanted in "${missing[@]}"; do
    package=${wanted%%:*}
    # Downloaded apart, because that can be broken off at any moment; an installation should not be.
    if apt 300 install --no-install-recommends --download-only "$package" &&
        apt 600 install --no-install-recommends "$package" && there "$wanted"; then
        command -v systemctl >/dev/null &&
            dpkg -L "$package" | sed -n 's#.*/systemd/system/\([^/]*\.\(service\|socket\)\)$#\1#p' |
            xargs -r "${as_root[@]}" systemctl disable >/dev/null 2>&1
    else
        echo "Not installed: $package ($(why)); the tests that need it will skip."
    fi
done
exit 0
