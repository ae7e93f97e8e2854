#!/usr/bin/env bash
# Runs the tests in two parts, in parallel processes, and makes one report of both: scripts/tests.sh unit|integration|report
# [WORD...]
#
#   unit         all but those that start services, brokers or databases
#   integration  those
#   report       coverage.xml and htmlcov/ over what ran, 80 % at least, and pytest-report.xml
#
# Words after a part are pytest's: its files and folders in place of all, options beside them. `report` judges whatever
# ran, so after a part alone it may end with 1.
#
# Environment: WORKERS, the number of processes (auto).
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly bin=.venv/bin
export MLFLOW_DISABLE_TELEMETRY=true PYTHONHASHSEED=0
# Hundreds of processes are started: without bytecode each compiles its libraries anew, which doubles its start.
unset PYTHONDONTWRITEBYTECODE

part() { # NAME WORD...: what is covered is kept beside the other part's, and judged in the report
  local name=$1
  shift
  mkdir -p build
  rm -f "build/coverage-$name" "build/coverage-$name".*
  COVERAGE_FILE=build/coverage-$name scripts/step.sh "$name-tests" "$bin/pytest" -n "${WORKERS:-auto}" --max-worker-restart=0 --dist loadfile \
    --no-loadscope-reorder --cov --cov-report= --cov-fail-under=0 --junit-xml="build/pytest-report-$name.xml" "$@"
}

named() { # whether the words name tests: those alone are run then
  local word
  for word in "${words[@]}"; do [ ! -e "${word%%::*}" ] || return 0; done
  return 1
}

report() {
  local kept
  kept=$(compgen -G 'build/coverage-*') || {
    echo "tests: the parts must run before the report, none did" >&2
    exit 1
  }
  "$bin/python" scripts/ci/junit.py build/pytest-report-*.xml >pytest-report.xml
  # shellcheck disable=SC2086 # a file a word
  "$bin/coverage" combine --quiet --keep --data-file=build/coverage $kept
  "$bin/coverage" xml --quiet --data-file=build/coverage --fail-under=0 -o coverage.xml
  "$bin/coverage" html --quiet --data-file=build/coverage --fail-under=0 -d htmlcov
  "$bin/coverage" report --data-file=build/coverage
}

words=("${@:2}")
case ${1:-} in
  unit)
    named || words+=(hft_lib tests)
    part unit --doctest-modules --ignore=tests/integration --ignore=tests/simulation "${words[@]}"
    ;;
  integration)
    named || words+=(tests/integration tests/simulation)
    part integration "${words[@]}"
    ;;
  report) report ;;
  *)
    echo "tests: usage: scripts/tests.sh unit|integration|report [WORD...]" >&2
    exit 2
    ;;
esac
