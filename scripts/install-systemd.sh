#!/usr/bin/env bash
# Installs Debian's systemd, if it is not there, for tests/e2e/test_systemd.py. These run one of their own, in namespaces;
# the one that is installed is not started. Called by `make e2e`.
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
    apt update && apt install -y --no-install-recommends systemd
}

if [ "$(uname)" != Linux ] || [ -x /lib/systemd/systemd ]; then
    exit
fi
if ! command -v apt-get >/dev/null; then
    fail "systemd is missing, and there is no apt-get to install it with."
fi
if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    fail "systemd is missing; run scripts/install-systemd.sh as root, since there is no sudo."
fi

printf 'apt-get install systemd\n' >&2
output=$(mktemp)
trap 'rm -f "$output"' EXIT
# Once more, since a mirror may be in the middle of its update.
if ! install >"$output" 2>&1 && ! install >"$output" 2>&1; then
    tail -n 20 "$output" >&2
    fail "apt-get could not install systemd."
fi
[ -x /lib/systemd/systemd ] || fail "apt-get has installed systemd, but there is no /lib/systemd/systemd."
