#!/usr/bin/env bash
# Prints a Python that the book runs on: the one asked for, else the first that fits.
set -euo pipefail
fits='import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))'
version='import platform; print(platform.python_version())'
if [[ -n ${1:-} ]]; then
  candidates=("$1")
else
  candidates=(python3 python3.13 python3.12 python3.11 python3.10 python)
fi
for python in "${candidates[@]}"; do
  if "$python" -c "$fits" 2>/dev/null; then
    echo "$python"
    exit
  fi
done
{
  echo "The book needs Python 3.10 to 3.13. Tried:"
  for python in "${candidates[@]}"; do
    echo "  $python: $("$python" -c "$version" 2>/dev/null || echo not found)"
  done
  echo "Install one of these versions, or name yours: make book PYTHON=/path/to/python3.12"
} >&2
exit 1
