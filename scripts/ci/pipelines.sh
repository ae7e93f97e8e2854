#!/usr/bin/env bash
# The pipelines: each compiles to the YAML that is kept, and the calibration runs here, on a market
# that is made up and in which there is something to find. scripts/ci/pipelines.sh [FOLDER]: what is
# made stays there (build/pipelines).
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=$(realpath -m "${1:-build/pipelines}")
[ $# -gt 0 ] || rm -rf "$folder" # our own alone
mkdir -p "$folder/compiled"
export HFT_HOME=$folder/runs MLFLOW_DISABLE_TELEMETRY=true

hft() { .venv/bin/python -m cli.main "$@"; }

for kept in pipelines/compiled/*.yaml; do
  name=$(basename "$kept" .yaml)
  hft pipeline compile "$name" --out "$folder/compiled/$name.yaml" --json >/dev/null
  cmp "$kept" "$folder/compiled/$name.yaml" || {
    echo "pipelines: $kept must be what hft pipeline compile $name writes, was not" >&2
    exit 1
  }
  echo "pipelines: $name compiles to what is kept"
done
hft tape synth --seed 5 --days 40 --out "$folder/tape"
hft pipeline run calibration --tape "$folder/tape" --set folds=1 --out "$folder/calibration"
hft models list
