#!/bin/sh
# The browser client is written in client/ and committed as built. `build` makes it anew;
# `check` makes it aside and compares, so that what is served is what the source says.
set -eu
cd "$(dirname "$0")/.."

if [ ! -f client/package.json ]; then
    echo "client/package.json is missing" >&2
    exit 1
fi
command -v npm >/dev/null || { echo "node and npm are needed to build the client" >&2; exit 1; }
# The installed tools are kept while the lock is the same.
lock=$(cksum <client/package-lock.json)
if [ "$(cat client/node_modules/.undersigned-lock 2>/dev/null || true)" != "$lock" ]; then
    npm --prefix client ci --silent --no-audit --no-fund
    mkdir -p client/node_modules
    echo "$lock" >client/node_modules/.undersigned-lock
fi
case "${1:-build}" in
build) npm --prefix client run --silent build ;;
check) npm --prefix client run --silent check-build ;;
*) echo "usage: tools/client.sh build|check" >&2; exit 2 ;;
esac
