#!/usr/bin/env bash
# Resolves requirements/*.in to requirements/*.lock, with hashes. The widest set is resolved first
# and the others follow it, so that a version is the same wherever it stands. One lock serves amd64
# and arm64: both are resolved and compared. Arguments are uv's: `scripts/lock.sh --upgrade` takes
# what is new. PYTHON names another Python than that of .venv.
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly uv_version=0.11.33
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-.venv/bin/python}" -m venv "$work/uv"
"$work/uv/bin/pip" install --quiet "uv==$uv_version"

resolve() { # SET PLATFORM OUTPUT [ARGUMENT...]
  local set_name=$1 platform=$2 output=$3
  shift 3
  "$work/uv/bin/uv" pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate \
    --python-version 3.11 --python-platform "$platform-manylinux_2_28" \
    "requirements/$set_name.in" --output-file "$output" "$@"
}

for set_name in bench dev research runtime services mlflow audit policy; do
  constraint=()
  # What audits and what judges manifests stands in environments of their own.
  case $set_name in bench | audit | policy) ;; *) constraint=(--constraint requirements/bench.lock) ;; esac
  # The lock that stands is the resolver's preference: without an edit of the .in files nothing moves.
  resolve "$set_name" x86_64 "requirements/$set_name.lock" "${constraint[@]}" "$@"
  cp "requirements/$set_name.lock" "$work/$set_name.lock"
  resolve "$set_name" aarch64 "$work/$set_name.lock" "${constraint[@]}"
  cmp "$work/$set_name.lock" "requirements/$set_name.lock" || {
    echo "lock: $set_name differs between amd64 and arm64" >&2
    exit 1
  }
  echo "$set_name: $(grep -c '==' "requirements/$set_name.lock") packages"
done
