#!/usr/bin/env bash
# Runs a job's own steps here as GitHub would, by nektos/act without a container: scripts/act.sh
# [JOB...] (lint)
#
# What is committed is cloned to a folder of its own, which the checkout copies, and every other
# step that takes another's action is left out: they bring Python, keep caches and carry files. So
# set-up, commands, their order, conditions, variables and outputs are tried, and neither
# permissions nor actions. Needs `act` (ACT names another), and PyYAML in PYTHON (.venv/bin/python).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly act=${ACT:-act} python=${PYTHON:-.venv/bin/python}

if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
  awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
  exit
fi
command -v "$act" >/dev/null || {
  echo "act: \`act\` is needed, and was not found: https://nektosact.com" >&2
  exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone --quiet . "$work/tree"
"$python" scripts/ci/own_steps.py .github/workflows/ci-cd.yml "${@:-lint}" >"$work/own.yml"
for job in "${@:-lint}"; do
  "$act" push --directory "$work/tree" --workflows "$work/own.yml" --job "$job" \
    --platform ubuntu-latest=-self-hosted --env CI=false
done
