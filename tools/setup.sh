#!/bin/sh
# Make .venv hold exactly what requirements/dev.txt says, and this checkout, editable.
# Does nothing, in a tenth of a second, when the lock and pyproject.toml are unchanged.
# PYTHON=... chooses the interpreter for a new .venv.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

new_enough='import sys; sys.exit(sys.version_info < (3, 11))'

find_python() {
    without_venv=
    for name in ${PYTHON:-} python3.13 python3.12 python3.11 python3; do
        "$name" -c "$new_enough" 2>/dev/null || continue
        # Debian ships venv without what it needs to put pip into it.
        if "$name" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "$name"
            return
        fi
        without_venv=$name
    done
    if [ -n "$without_venv" ]; then
        say "$without_venv cannot make a virtual environment. On Debian and Ubuntu:"
        say "    sudo apt-get install python3-venv"
    else
        say "Python 3.11 or newer is needed (as python3.13, python3.12, python3.11 or python3)."
        say "On Debian and Ubuntu:  sudo apt-get install python3 python3-venv"
    fi
    exit 1
}

# A .venv whose interpreter is gone or too old is of no use to anyone: make it anew.
if [ -d .venv ] && ! .venv/bin/python -c "$new_enough" 2>/dev/null; then
    rm -rf .venv
fi
if [ ! -x .venv/bin/pip ]; then
    python=$(find_python)
    say "Making .venv with $("$python" --version)"
    "$python" -m venv .venv
fi

# What was installed, and from where: a moved checkout must be installed again.
stamp=$(.venv/bin/python - <<'PY'
import hashlib, pathlib
digest = hashlib.sha256(str(pathlib.Path.cwd()).encode())
for name in ("requirements/dev.txt", "pyproject.toml", "tools/setup.sh"):
    digest.update(pathlib.Path(name).read_bytes())
print(digest.hexdigest())
PY
)
if [ "$(cat .venv/undersigned-stamp 2>/dev/null || true)" != "$stamp" ]; then
    rm -f .venv/undersigned-stamp
    say "Installing what requirements/dev.txt names (checked by hash); about a minute"
    try=1
    until .venv/bin/python -m pip install -qq --disable-pip-version-check \
        --require-hashes --retries 5 --requirement requirements/dev.txt; do
        if [ "$try" -ge 3 ]; then
            say "The packages could not be fetched. Is there a network? Then: make setup"
            exit 1
        fi
        say "Trying again in $((try * 5)) seconds"
        sleep $((try * 5))
        try=$((try + 1))
    done
    .venv/bin/python -m pip install -qq --disable-pip-version-check \
        --no-index --no-build-isolation --no-deps --editable .
    echo "$stamp" >.venv/undersigned-stamp
fi

# Catalogues are compiled beside their sources; a start does it again when they are older.
if [ ! -f src/undersigned/locale/zh_Hans/LC_MESSAGES/django.mo ]; then
    .venv/bin/python -c \
        "from undersigned.web.shared.locale import compile_catalogs; compile_catalogs()"
fi
