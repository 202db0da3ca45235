#!/usr/bin/env bash
# Writes requirements/*.txt from pyproject.toml: names, versions and hashes for every supported Python and
# system in one file each, and no address of an index. Needs uv. Arguments go to uv (--upgrade, for one).
set -euo pipefail
cd "$(dirname "$0")/.."

compile() { # OUTPUT UV-ARGUMENTS...
    local output=requirements/$1
    shift
    echo "uv pip compile -> $output"
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
        --output-file "$output" "$@" >/dev/null
}

# dev first: it holds everything, and the others take its versions, so that no two files disagree.
compile dev.txt pyproject.toml --extra demo --extra redis --extra dev "${@}"
compile runtime.txt pyproject.toml --constraint requirements/dev.txt
compile image.txt pyproject.toml --extra redis --constraint requirements/dev.txt
compile demo.txt pyproject.toml --extra demo --constraint requirements/dev.txt
compile fuzz.txt pyproject.toml --extra fuzz --constraint requirements/dev.txt
compile bench.txt pyproject.toml --extra bench --constraint requirements/dev.txt
compile build.txt requirements/build.in --constraint requirements/dev.txt
