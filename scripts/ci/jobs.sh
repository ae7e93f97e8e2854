#!/usr/bin/env bash
# Writes what each job of this run did, a line of JSON each, as GitHub tells it: scripts/ci/jobs.sh
# FILE Needs `gh` (GH names another), GH_TOKEN, GITHUB_REPOSITORY, GITHUB_RUN_ID and
# GITHUB_RUN_ATTEMPT.
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
readonly file=${1:?usage: scripts/ci/jobs.sh FILE}
mkdir -p "$(dirname "$file")"
run=repos/${GITHUB_REPOSITORY:?}/actions/runs/${GITHUB_RUN_ID:?}
"${GH:-gh}" api --paginate "$run/attempts/${GITHUB_RUN_ATTEMPT:?}/jobs?per_page=100" \
  --jq '.jobs[] | {name, conclusion, started_at, completed_at,
    steps: [.steps[] | {name, conclusion}]}' >"$file"
[ -s "$file" ] || {
  echo "jobs: a run must have jobs, GitHub told of none" >&2
  exit 1
}
