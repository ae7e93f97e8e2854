#!/usr/bin/env bash
# Judges what a deployment would apply by checkov's rules: scripts/policy.sh [FOLDER]
#
# Without FOLDER it is what deploy-k8s.sh renders of both environments, and what their administrator applies.
# What is waived says so beside it, as `checkov.io/skipN: RULE=reason`; whatever else is found fails. checkov has an
# environment of its own, build/policy, which is made where it is missing.
# Exit codes: 0 nothing is found, 1 something is, or it could not be judged, 2 bad usage.
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly tools=build/policy kubectl=.venv/bin/kubectl
folder=${1:-build/policy-manifests}

fail() {
  echo "policy: $*" >&2
  exit 1
}

install_checkov() {
  [ "$(cat "$tools/lock" 2>/dev/null)" = "$(cat requirements/policy.lock)" ] && return
  .venv/bin/python -m venv --clear "$tools"
  "$tools/bin/pip" install --quiet --require-hashes --no-deps --requirement requirements/policy.lock
  cp requirements/policy.lock "$tools/lock"
}

digests() { # of every image that is ours or another's: which it is does not matter here
  local name
  for name in $("$kubectl" kustomize k8s/production | sed -n 's/.* image: hft-crypto-bot-//p' | sort -u) \
    kafka redis postgres node-exporter pushgateway; do
    printf '%s sha256:%064d\n' "$name" 0
  done
}

render() {
  local environment
  rm -rf "$folder" && mkdir -p "$folder"
  digests >"$folder/digests"
  for environment in staging production; do
    DOCKER_USERNAME=owner KUBECTL=$kubectl scripts/deploy-k8s.sh -e "$environment" --context none \
      --digests "$folder/digests" --dry-run deploy >/dev/null || fail "k8s/$environment cannot be rendered"
    cp "build/deploy/$environment/rendered.yaml" "$folder/$environment.yaml"
    "$kubectl" kustomize "k8s/access/$environment" >"$folder/access-$environment.yaml"
  done
}

judge() { # a judge that found nothing to judge is no judge
  local report=$folder/report.txt code=0
  "$tools/bin/checkov" --framework kubernetes --skip-download --compact --directory "$folder" >"$report" || code=$?
  grep -qE '^Passed checks: [1-9]' "$report" || fail "checkov judged nothing: $(tail -n 3 "$report")"
  grep -E '^Passed checks:' "$report"
  [ "$code" = 0 ] || {
    grep -A 2 -B 1 'FAILED for' "$report" >&2
    fail "mend it, or waive it beside the reason"
  }
}

[[ $# -le 1 && ${1:-} != -* ]] || {
  echo "policy: usage: scripts/policy.sh [FOLDER]" >&2
  exit 2
}
[ $# = 0 ] || [ -d "$folder" ] || fail "FOLDER must be there, was $folder"
install_checkov
[ $# = 1 ] || render
judge
