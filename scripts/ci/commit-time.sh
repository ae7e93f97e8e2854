#!/usr/bin/env bash
# Says when the commit was made, in seconds, as the output `epoch` of a workflow's step; here, on stdout.
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
echo "epoch=$(git log -1 --pretty=%ct)" >>"${GITHUB_OUTPUT:-/dev/stdout}"
