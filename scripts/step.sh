#!/usr/bin/env bash
# Runs one step of a check, says how long it took, and notes it in build/steps.tsv: scripts/step.sh NAME COMMAND...
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly name=${1:?usage: scripts/step.sh NAME COMMAND...}
shift
mkdir -p build
readonly steps=${STEPS_FILE:-build/steps.tsv}
started=$(date +%s)
echo "--- $name"
code=0
"$@" || code=$?
seconds=$(($(date +%s) - started))
[ "$code" = 0 ] && verdict=passed || verdict=failed
printf '%s\t%s\t%s\n' "$name" "$verdict" "$seconds" >>"$steps"
echo "--- $name: $verdict in $seconds s"
exit "$code"
