#!/bin/sh
# Write requirements/*.txt anew: every package with its hashes, for all Pythons we support,
# and no address of any index. UPGRADE=1 also takes newer versions.
set -eu
cd "$(dirname "$0")/.."

sh tools/setup.sh
# The resolver is large and rarely needed, so it lives apart from .venv.
if [ ! -x build/lock/bin/uv ]; then
    .venv/bin/python -m venv build/lock
    build/lock/bin/python -m pip install -qq --disable-pip-version-check uv
fi
compile() {
    build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 \
        --generate-hashes --no-header --no-emit-index-url ${UPGRADE:+--upgrade} \
        pyproject.toml requirements/build.in "$@"
}
compile --output-file requirements/base.txt
compile --extra scale --output-file requirements/scale.txt
compile --extra scale --extra dev --output-file requirements/dev.txt
.venv/bin/python -m pytest -q tests/architecture/test_locks.py
