#!/bin/sh
# lowest.sh UV DIRECTORY [TESTS...]: run the tests (all, unless some are named) with the lowest version of every
# dependency that pyproject.toml allows, in a virtual environment of its own. The tools of the tests are of any version
# that goes with these.
set -eu
uv=$1 directory=$2
shift 2
python=${PYTHON:-python3}

mkdir -p "$directory"
"$uv" pip compile --quiet --resolution lowest-direct --python "$python" --no-annotate pyproject.toml -o "$directory/lowest.txt"
"$uv" venv --quiet --allow-existing --python "$python" "$directory/venv"
"$uv" pip install --quiet --python "$directory/venv" --requirement "$directory/lowest.txt"
"$uv" pip install --quiet --python "$directory/venv" --group dev --constraint "$directory/lowest.txt"
grep -E '^(fastapi|starlette|uvicorn|redis|pydantic|pydantic-settings|psycopg)==' "$directory/lowest.txt" >&2
exec "$directory/venv/bin/python" -m pytest "$@"
