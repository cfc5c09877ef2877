#!/bin/sh
# setup.sh DIRECTORY: create a virtual environment with the locked packages, in a fresh clone or after a change of the
# locks. Needs Python 3.11 or newer and nothing else; where that is missing, it names the package to install.
set -eu
venv=$1
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
  echo "Python 3.11 or newer is needed; '$python' is $("$python" --version 2>&1 || echo missing). Try: make PYTHON=python3.12 ..." >&2
  exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  # Debian packages these modules apart from Python itself.
  "$(dirname "$0")/packages.sh" python3-venv
fi

echo "Setting up $venv (once; again when the locked packages change)" >&2
# An interrupted set-up can leave an environment without pip.
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear "$venv"
pip="$venv/bin/python -m pip --quiet --disable-pip-version-check"
$pip install --require-hashes --requirement requirements/dev.lock
# The build tools are among the locked packages: no version is resolved outside the locks.
$pip install --no-deps --no-build-isolation --editable .
touch "$venv/installed"
