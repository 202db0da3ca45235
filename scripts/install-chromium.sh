#!/usr/bin/env bash
# Prints the path of a Chromium or Chrome that works, and installs Debian's chromium if there is none.
# With --find it installs nothing. CHROMIUM=/path/to/browser names one. Called by `make e2e`.
set -euo pipefail

log() { printf '%s\n' "$@" >&2; }

fail() {
    log "$@"
    exit 1
}

works() { # a name may be there and not be a browser (Ubuntu's chromium-browser asks for a snap)
    command -v "$1" >/dev/null && "$1" --version 2>/dev/null | grep -qiE '(chromium|chrome) [0-9]'
}

find_browser() {
    local name
    if [ -n "${CHROMIUM:-}" ]; then
        works "$CHROMIUM" || fail "CHROMIUM=$CHROMIUM is no browser that starts."
        command -v "$CHROMIUM"
        return
    fi
    for name in chromium google-chrome google-chrome-stable chromium-browser \
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" \
        "/Applications/Chromium.app/Contents/MacOS/Chromium"; do
        if works "$name"; then
            command -v "$name"
            return
        fi
    done
    return 1
}

apt() { # as root, and waiting for another apt that is at work
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo=(sudo)
    fi
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"
}

install() {
    apt update && apt install -y --no-install-recommends chromium
}

advice="The browser tests need Chromium or Chrome. Install one, or say CHROMIUM=/path/to/it."

if find_browser; then
    exit
fi
if [ "${1:-}" = --find ]; then
    fail "$advice" "On Debian scripts/install-chromium.sh does it."
fi
if ! command -v apt-get >/dev/null; then
    fail "$advice" "There is no apt-get here to do it with."
fi
if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    fail "$advice" "To install Debian's chromium run scripts/install-chromium.sh as root; there is no sudo."
fi

log "apt-get install chromium"
output=$(mktemp)
trap 'rm -f "$output"' EXIT
# Once more, since a mirror may be in the middle of its update.
if ! install >"$output" 2>&1; then
    tail -n 3 "$output" >&2
    log "once more:"
    if ! install >"$output" 2>&1; then
        tail -n 20 "$output" >&2
        fail "apt-get could not install chromium."
    fi
fi
find_browser || fail "apt-get has installed chromium, but it does not start:" "$(chromium --version 2>&1)"
