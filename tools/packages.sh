#!/bin/sh
# packages.sh PACKAGE...: install missing Debian packages with sufficient rights (root, or sudo without a password);
# otherwise print the missing packages in one line, and fail.
set -eu

missing=""
for package in "$@"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=none
if command -v apt-get >/dev/null; then
  if [ "$(id -u)" = 0 ]; then as_root="env"; elif sudo -n true 2>/dev/null; then as_root="sudo -n"; fi
fi
if [ "$as_root" = none ]; then
  echo "missing, please install:$missing (Debian: sudo apt-get install$missing; macOS: brew install$missing)" >&2
  exit 1
fi

echo "Installing$missing" >&2
log=$(mktemp)
# The policy keeps the packages from starting services of their own: tests start their own servers, on free ports.
$as_root sh -c "
  policy=/usr/sbin/policy-rc.d
  [ -e \$policy ] || { printf '#!/bin/sh\nexit 101\n' >\$policy; chmod +x \$policy; trap 'rm -f '\$policy EXIT; }
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -qq --no-install-recommends $missing
" >"$log" 2>&1 || { tail -n 20 "$log" >&2; exit 1; }
rm -f "$log"
