#!/usr/bin/env bash
# Brings what only the system's package manager can give. A test whose tool is missing skips loudly.
set -euo pipefail
missing=()
command -v strace >/dev/null || missing+=(strace)
command -v curl >/dev/null || missing+=(curl)
command -v go >/dev/null || missing+=(golang-go)
[ ${#missing[@]} = 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing for the tests: ${missing[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"; } >/dev/null || echo "Could not install: ${missing[*]}"
else
  echo "Missing; tests that need them will skip: apt-get install ${missing[*]}"
fi
