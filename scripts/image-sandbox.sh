#!/usr/bin/env bash
# Makes it possible to build the image where there is neither a container engine nor a registry of images, as
# tests/e2e/test_image.py does: buildah, which needs no daemon, in a store of its own, and Debian with its
# Python under the name of the base image. Called with the folder for the store; prints what it does.
#
# The stand-in is Debian 13, the system of the base image, with Python 3.13 as Debian packages it. It is kept
# in ${XDG_CACHE_HOME:-~/.cache}/gatelodge for a week.
set -euo pipefail
store=${1:?usage: scripts/image-sandbox.sh FOLDER}
cd "$(dirname "$0")/.."
suite=trixie
include=ca-certificates,python3,python3-pip
cache=${XDG_CACHE_HOME:-$HOME/.cache}/gatelodge

fail() {
    printf '%s\n' "The image cannot be built for its tests on this machine." "$@" >&2
    exit 1
}

install_tools() {
    local needed=() tool
    for tool in buildah mmdebstrap ip:iproute2 nsenter:util-linux; do
        command -v "${tool%%:*}" >/dev/null || needed+=("${tool##*:}")
    done
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || needed+=(debian-archive-keyring)
    [ ${#needed[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail \
        "Missing: ${needed[*]}. They are installed with apt-get, which is not here either." \
        "Run the tests on Debian or Ubuntu (a virtual machine or a container with --privileged will do)."
    echo "apt-get install ${needed[*]}"
    # A machine that is just starting may hold the lock for a while.
    local apt=(apt-get -qq -o DPkg::Lock::Timeout=300)
    DEBIAN_FRONTEND=noninteractive "${apt[@]}" install --yes --no-install-recommends "${needed[@]}" >/dev/null 2>&1 || {
        "${apt[@]}" update
        DEBIAN_FRONTEND=noninteractive "${apt[@]}" install --yes --no-install-recommends "${needed[@]}" >/dev/null
    }
}

mirror() { # where this machine gets Debian's packages; nothing where it is not Debian, or has no apt
    # shellcheck disable=SC2016 # a format of apt's
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' 2>/dev/null | head -n 1
}

make_stand_in() { # FILE
    echo "mmdebstrap $suite with $include"
    local where new=$1.$$.tar
    where=$(mirror)
    mmdebstrap --quiet --variant=essential --include="$include" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$new" ${where:+"$where"}
    mv "$new" "$1" # all of it or nothing: another run may be reading
}

import_stand_in() { # FILE
    local name container
    name=$(sed -n 's/^ARG PYTHON_IMAGE=//p' Dockerfile)
    echo "importing it as $name"
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$1" / >/dev/null
    buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit --quiet --format docker --rm "$container" "$name" >/dev/null
}

[ "$(uname -s)" = Linux ] || fail "It needs Linux; this is $(uname -s)."
[ "$(id -u)" = 0 ] || fail "It needs root, for mounts and namespaces of its own; this is $(id -un)."
install_tools
mkdir -p "$store" "$cache"
cat >"$store/storage.conf" <<END
[storage]
driver = "vfs"
graphroot = "$store/graph"
runroot = "$store/run"
END
export CONTAINERS_STORAGE_CONF=$store/storage.conf
stand_in=$cache/$suite-$(printf '%s' "$include" | cksum | cut -d ' ' -f 1).tar
if [ -z "$(find "$stand_in" -mtime -7 2>/dev/null)" ]; then
    make_stand_in "$stand_in"
fi
import_stand_in "$stand_in"
