#!/usr/bin/env bash
# Looks for what is known to be unsafe: bandit over the sources, detect-secrets over every file that git keeps, safety
# over every locked dependency.
#
# Leaves bandit-report.json and safety-report.json. Exit code 1 where one found something, or could not look: a
# dependency of which nothing could be learned counts as unsafe. safety asks its makers' database, over the network.
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly tools=build/audit packages=(hft_lib components pipelines serving cli)

install_safety() {
  [ "$(cat "$tools/lock" 2>/dev/null)" = "$(cat requirements/audit.lock)" ] && return
  .venv/bin/python -m venv --clear "$tools"
  "$tools/bin/pip" install --quiet --require-hashes --no-deps --requirement requirements/audit.lock
  cp requirements/audit.lock "$tools/lock"
}

safety_report() {
  rm -f safety-report.json
  install_safety
  # Its exit code tells finding something from failing in no way that can be relied on: the report is judged.
  "$tools/bin/safety" check --file requirements/bench.lock --output json >safety-report.json || true
  .venv/bin/python scripts/ci/safety_report.py safety-report.json requirements/bench.lock
}

code=0
scripts/setup.sh dev
scripts/step.sh bandit-report .venv/bin/bandit --quiet --configfile pyproject.toml --recursive "${packages[@]}" \
  --format json --output bandit-report.json || code=1
scripts/step.sh secrets .venv/bin/python scripts/secret_scan.py || code=1
safety_report || code=1
exit "$code"
