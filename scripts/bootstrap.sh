#!/usr/bin/env bash
# Makes .venv with the locked requirements of one set (demo, dev, fuzz or bench) and the command
# .venv/bin/gatelodge. Uses uv if it is there, else venv and pip. Called by the Makefile.
set -euo pipefail
cd "$(dirname "$0")/.."
set_name=${1:?usage: scripts/bootstrap.sh demo|dev|fuzz|bench}
venv=.venv
python=$venv/bin/python

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

is_new_enough() { # a name may be there and not work (pyenv shims), so it is run
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() { # prints the first Python 3.11+ that works, preferring the machine's own choice
    local name
    for name in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14 python; do
        if is_new_enough "$name"; then
            command -v "$name"
            return
        fi
    done
    return 1
}

make_venv() {
    if command -v uv >/dev/null; then
        echo "uv venv $venv"
        # uv finds a Python or fetches one.
        uv venv --quiet --clear --python "${PYTHON:->=3.11}" "$venv"
        return
    fi
    if [ -n "${PYTHON:-}" ] && ! is_new_enough "$PYTHON"; then
        fail "PYTHON=$PYTHON is not a Python 3.11 or newer that works."
    fi
    local base
    base=$(find_python) || fail \
        "Gatelodge needs Python 3.11 or newer; found: $(python3 --version 2>/dev/null || echo none)." \
        "Looked for python3, python3.14, python3.13, python3.12 and python3.11 on the PATH." \
        "Install one of them, or uv (which fetches Python itself), or say PYTHON=/path/to/python."
    "$base" -c 'import ensurepip, venv' >/dev/null 2>&1 || fail \
        "$base is new enough, but its module venv is missing or incomplete." \
        "On Debian and Ubuntu: apt install $("$base" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" \
        "Or install uv, which does not need it."
    echo "$base -m venv $venv"
    rm -rf "$venv"
    "$base" -m venv "$venv"
}

install() { # PIP-ARGUMENTS...
    if command -v uv >/dev/null; then
        uv pip install --quiet --python "$python" "$@"
    else
        "$python" -m pip install --quiet --disable-pip-version-check "$@"
    fi
}

can_install() { # an environment made by uv holds no pip, but can get it
    command -v uv >/dev/null ||
        "$python" -m pip --version >/dev/null 2>&1 ||
        "$python" -m ensurepip >/dev/null 2>&1
}

if ! { is_new_enough "$python" && can_install; }; then
    make_venv
fi
echo "installing requirements/$set_name.txt into $venv"
install --require-hashes -r "requirements/$set_name.txt" -r requirements/build.txt
install --no-deps --no-build-isolation --editable .
touch "$venv/.installed-$set_name"
# The development set holds all that the demo needs.
if [ "$set_name" = dev ]; then
    touch "$venv/.installed-demo"
fi
