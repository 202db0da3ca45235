#!/usr/bin/env bash
# Installs Debian's slowhttptest, if it is not there. Called by `make siege`.
set -euo pipefail

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

apt() { # as root, and waiting for another apt that is at work
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo=(sudo)
    fi
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"
}

install() {
    apt update && apt install -y --no-install-recommends slowhttptest
}

if command -v slowhttptest >/dev/null; then
    exit
fi
if ! command -v apt-get >/dev/null; then
    fail "slowhttptest is missing, and there is no apt-get to install it with."
fi
if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    fail "slowhttptest is missing; run scripts/install-slowhttptest.sh as root, since there is no sudo."
fi

printf 'apt-get install slowhttptest\n' >&2
output=$(mktemp)
trap 'rm -f "$output"' EXIT
# Once more, since a mirror may be in the middle of its update.
if ! install >"$output" 2>&1 && ! install >"$output" 2>&1; then
    tail -n 20 "$output" >&2
    fail "apt-get could not install slowhttptest."
fi
command -v slowhttptest >/dev/null || fail "apt-get has installed slowhttptest, but it is not on the PATH."
