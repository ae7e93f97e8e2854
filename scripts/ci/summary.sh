#!/usr/bin/env bash
# Runs a command and puts what it says on the run's page, under a title: scripts/ci/summary.sh TITLE COMMAND...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly title=$1
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
