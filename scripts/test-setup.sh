#!/usr/bin/env bash
# Brings what only the system's package manager can give. A test whose tool is missing skips loudly.
set -euo pipefail
cd "$(dirname "$0")/.."
missing=()
command -v strace >/dev/null || missing+=(strace)
command -v curl >/dev/null || missing+=(curl)
command -v go >/dev/null || missing+=(golang-go)
command -v spin >/dev/null || missing+=(spin)
command -v cc >/dev/null || missing+=(gcc libc6-dev)
if [ ${#missing[@]} = 0 ]; then
  :
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing for the tests: ${missing[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"; } >/dev/null || echo "Could not install: ${missing[*]}"
else
  echo "Missing; tests that need them will skip: apt-get install ${missing[*]}"
fi

# The second MLS implementation: a counterpart for the tests, pinned by its lock file. Nothing of it ships.
engine=tests/engines/node
if node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)' 2>/dev/null && command -v npm >/dev/null; then
  if ! cmp -s "$engine/package-lock.json" "$engine/node_modules/.lock"; then
    echo "Installing for the tests: ts-mls"
    # A registry that cannot be reached must not keep the tests waiting.
    if timeout 300 npm ci --prefix "$engine" --no-audit --no-fund --ignore-scripts --silent; then
      cp "$engine/package-lock.json" "$engine/node_modules/.lock"
    else
      echo "Could not install: ts-mls; tests that need a second MLS implementation will skip"
    fi
  fi
else
  echo "Missing; tests that need a second MLS implementation will skip: Node 20 or newer with npm"
fi

# Official client libraries of other APIs, as they are: counterparts of the drop-in faces. Nothing of them ships.
sdks=tests/sdks
if ! cmp -s "$sdks/python/requirements.lock" "$sdks/python/.venv/.lock"; then
  echo "Installing for the tests: official SDKs (Python)"
  rm -rf "$sdks/python/.venv"
  if .venv/bin/python -m venv "$sdks/python/.venv" && timeout 300 "$sdks/python/.venv/bin/python" -m pip install --quiet \
    --disable-pip-version-check --require-hashes -r "$sdks/python/requirements.lock"; then
    cp "$sdks/python/requirements.lock" "$sdks/python/.venv/.lock"
  else
    echo "Could not install: official SDKs (Python); tests that need them will skip"
  fi
fi
if command -v npm >/dev/null && ! cmp -s "$sdks/node/package-lock.json" "$sdks/node/node_modules/.lock"; then
  echo "Installing for the tests: official SDKs (Node)"
  if timeout 300 npm ci --prefix "$sdks/node" --no-audit --no-fund --ignore-scripts --silent; then
    cp "$sdks/node/package-lock.json" "$sdks/node/node_modules/.lock"
  else
    echo "Could not install: official SDKs (Node); tests that need them will skip"
  fi
fi
