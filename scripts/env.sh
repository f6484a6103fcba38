#!/usr/bin/env bash
# Builds .venv from the lock files; running it again does nothing that is already done.
#   scripts/env.sh run   what the product needs
#   scripts/env.sh dev   that, and what the tests need
set -euo pipefail
cd "$(dirname "$0")/.."
want="${1:-run}"
python="${PYTHON:-python3}"

say() { printf '%s\n' "$*" >&2; }

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  say "Letterlock needs Python 3.11 or newer as '$python' (set PYTHON=/path/to/python to choose another)."
  exit 1
fi

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c '' 2>/dev/null; then
  rm -rf .venv
  if ! "$python" -m venv .venv >/dev/null 2>&1; then
    rm -rf .venv
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      say "This Python cannot make environments: installing python3-venv ..."
      { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; } >/dev/null
      "$python" -m venv .venv
    else
      say "This Python cannot make environments. As an administrator: apt-get install python3-venv"
      exit 1
    fi
  fi
fi

install() { # lock file, stamp
  local stamp=".venv/.installed-$2" sum
  sum="$(cat "$1" pyproject.toml | sha256sum | cut -d' ' -f1)"
  if [ "$(cat "$stamp" 2>/dev/null)" != "$sum" ]; then
    say "Installing $1 (hashes checked) ..."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r "$1"
    # The package itself: a path file, so that no build tool has to be fetched.
    site="$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
    printf '%s\n' "$PWD/src" > "$site/letterlock-src.pth"
    cat > .venv/bin/letterlock <<LAUNCH
#!$PWD/.venv/bin/python
import sys
from letterlock.app.cli import main
sys.exit(main())
LAUNCH
    chmod +x .venv/bin/letterlock
    printf '%s' "$sum" > "$stamp"
  fi
}

if [ "$want" = dev ]; then
  install requirements-dev.lock dev
else
  # The development lock holds everything that the run lock does, at the same versions.
  [ -e .venv/.installed-dev ] || install requirements.lock run
fi
