#!/usr/bin/env bash
# Runs a command and puts what it says on the run's page, under a title: scripts/ci/summary.sh TITLE COMMAND...
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly title=${1:?usage: scripts/ci/summary.sh TITLE COMMAND...}
shift
said=$(mktemp)
trap 'rm -f "$said"' EXIT
code=0
"$@" 2>&1 | tee "$said" || code=$?
{
  printf '## %s\n\n```\n' "$title"
  cat "$said"
  printf '```\n'
} >>"${GITHUB_STEP_SUMMARY:-/dev/null}"
exit "$code"
