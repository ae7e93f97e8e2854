#!/usr/bin/env bash
# The tests that a branch can break, as the output `tests` of a workflow's step; here, on stdout. Empty: all of them.
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
base=$(git merge-base "${BASE:-origin/main}" HEAD) || base=unknown
chosen=$(python3 scripts/changed_tests.py "$base" | tr '\n' ' ')
[ "$chosen" != "tests " ] || chosen=""
# Those that start services are another workflow's.
chosen=$(tr ' ' '\n' <<<"$chosen" | grep -vE '^tests/(integration|simulation)/' | tr '\n' ' ' || true)
echo "tests=${chosen% }" >>"${GITHUB_OUTPUT:-/dev/stdout}"
