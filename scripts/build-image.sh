#!/usr/bin/env bash
# Builds the container image with whichever of docker, podman and buildah is there, and fills in its labels.
#
#   scripts/build-image.sh [ARGUMENTS FOR THE ENGINE'S BUILD...]     e.g. --platform linux/arm64 --no-cache
#
#   ENGINE=...           the one to use (default: the first that works)
#   IMAGE=...            what the image is called (default: gatelodge)
#   PIP_CONFIG_FILE=...  a pip.conf for the build, e.g. with the address of a mirror; it stays out of the image
#   CA_FILE=...          certificates for the build, PEM, which pip.conf names as `cert = /run/secrets/ca`
#   SOURCE_DATE_EPOCH    Unix time of the label `created` (default: that of the commit)
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

works() { # a client may be there without its engine
    case $1 in
    docker) docker info >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

find_engine() {
    local name
    for name in docker podman buildah; do
        if works "$name"; then
            echo "$name"
            return
        fi
    done
    return 1
}

git_says() { # FALLBACK GIT-ARGUMENTS...: also outside of a work tree, e.g. in an unpacked archive
    local fallback=$1
    shift
    git "$@" 2>/dev/null || echo "$fallback"
}

revision() { # the commit, and whether the files are really its files
    local commit
    commit=$(git_says unknown rev-parse HEAD)
    if [ "$commit" != unknown ] && [ -n "$(git status --porcelain 2>/dev/null)" ]; then
        commit+=-dirty
    fi
    echo "$commit"
}

source_of() { # the web address of the repository, if it has one, without the password that may be in it
    local url rest host
    url=$(git_says "" remote get-url origin)
    case $url in
    http://* | https://*) ;;
    *) return ;;
    esac
    rest=${url#*://}
    host=${rest%%/*}
    rest=${rest#*/}
    echo "${url%%://*}://${host##*@}/${rest%.git}"
}

engine=${ENGINE:-$(find_engine)} || fail \
    "Building the image needs docker (with its engine running), podman or buildah; none was found." \
    "Install one of them, or say ENGINE=/path/to/it."
image=${IMAGE:-gatelodge}
version=$(sed -nE 's/^__version__ = "(.+)"$/\1/p' proxy/__init__.py)
epoch=${SOURCE_DATE_EPOCH:-$(git_says "$(date +%s)" log -1 --format=%ct)}
arguments=(
    --build-arg "VERSION=$version"
    --build-arg "REVISION=$(revision)"
    --build-arg "CREATED=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u -r "$epoch" +%Y-%m-%dT%H:%M:%SZ)"
    --tag "$image:$version"
    --tag "$image:latest"
)
source_url=$(source_of)
if [ -n "$source_url" ]; then
    arguments+=(--label "org.opencontainers.image.source=$source_url")
fi
for secret in "pip ${PIP_CONFIG_FILE:-}" "ca ${CA_FILE:-}"; do
    file=${secret#* }
    if [ -n "$file" ]; then
        [ -r "$file" ] || fail "cannot read $file, which PIP_CONFIG_FILE or CA_FILE names"
        arguments+=(--secret "id=${secret%% *},src=$file")
    fi
done
case ${engine##*/} in
podman | buildah) arguments+=(--format docker) ;; # OCI's own format knows no HEALTHCHECK
esac

echo "building $image:$version with $engine"
"$engine" build "${arguments[@]}" "$@" .
