#!/usr/bin/env bash
# Installs the programs that the interoperability tests drive, on Debian and its like: install_packages.sh PACKAGE...
#
# Quick where all is there. Never fails: where something cannot be installed it says why, and the tests that need it
# skip. Starts no service, neither now nor at the next boot.
set -uo pipefail
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

missing=()
for package in "$@"; do
    command -v "${package%-light}" >/dev/null || missing+=("$package")
done
[ "${#missing[@]}" -eq 0 ] && exit 0

skip() {
    echo "Not installed: ${missing[*]} ($1); the tests that need them will skip."
    exit 0
}

command -v apt-get >/dev/null || skip "there is no apt-get"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo -n)
    "${as_root[@]}" true 2>/dev/null || skip "that takes root, and sudo asks for a password"
fi

# Debian asks this file before a package starts its service; 101 forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null && "${as_root[@]}" chmod 755 "$policy" ||
        skip "services could not be kept from starting"
fi

apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive timeout --kill-after=10 "$1" \
        apt-get -qq -o DPkg::Lock::Timeout=30 "${@:2}" </dev/null >/dev/null 2>&1
}

echo "Installing ${missing[*]} for the tests ..."
apt 90 update
for package in "${missing[@]}"; do
    apt 180 install -y --no-install-recommends "$package" || echo "Could not install $package; its tests will skip."
    command -v systemctl >/dev/null && "${as_root[@]}" systemctl disable "${package%-light}" >/dev/null 2>&1
done
exit 0
