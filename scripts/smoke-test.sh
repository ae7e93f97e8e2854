#!/usr/bin/env bash
# Asks whether what was deployed works as one line; --help says how.
set -euo pipefail

readonly all="ingestion:8000 kalman_filter:8001 garch_model:8002 risk_manager:8004 \
execution:8003 orchestrator:8005"

usage() {
  cat <<'END'
scripts/smoke-test.sh [-e ENV] [--context NAME] [--moving SECONDS]

Reads /metrics of the six services, and says what is wrong: one that is not ready, services of
different versions of logic or schema, and with --moving one that no fact reaches.

  -e ENV             staging (the default) or production: in the cluster, by kubectl exec
  --context NAME     the context of kubectl, in place of the current one
  --moving SECONDS   within so long facts must reach all but the orchestrator, which hears of
                     days; only where a market is open or a tape goes on
  --help             this

Environment: KUBECTL (kubectl); ANSWER_S_MAX (30), how many seconds a page is waited for.
Exit codes: 0 it works, 1 it does not, 2 bad usage.
END
}

bad_usage() {
  echo "smoke-test: $*; scripts/smoke-test.sh --help says how" >&2
  exit 2
}

readonly ask='import sys, urllib.request as request
print(request.urlopen(sys.argv[1], timeout=5).read().decode())'

page_of() { # NAME PORT: its /metrics
  # What runs in a pod is under no time limit of the cluster's.
  timeout --kill-after=5 "${ANSWER_S_MAX:-30}" \
    "${KUBECTL:-kubectl}" ${context:+--context "$context"} --namespace "hft-$environment" \
    --request-timeout=20s exec "deployment/${1//_/-}-service" -- python3 -c "$ask" "http://127.0.0.1:$2/metrics" </dev/null
}

why_not() { # CODE: of a page that was not read
  if [ "$1" = 124 ]; then echo "no answer within ${ANSWER_S_MAX:-30} s"; else
    tail -n 1 "$work/error"
  fi
}

value_of() { # METRIC, of the page on stdin: the sum over its labels
  awk -v name="$1" '$1 ~ "^" name "({|$)" { sum += $NF; seen = 1 }
    END { if (seen) printf "%.0f", sum }'
}

read_all() { # each page into $work/NAME
  local entry
  for entry in $all; do
    page_of "${entry%:*}" "${entry#*:}" >"$work/${entry%:*}" 2>"$work/error" ||
      wrong+=("${entry%:*} does not answer: $(why_not $?)")
  done
}

read_facts() { # NAME: how many it read
  value_of hft_facts_read_total <"$work/$1"
}

judge() {
  local entry name versions
  for entry in $all; do
    name=${entry%:*}
    [ "$(value_of hft_ready <"$work/$name")" = 1 ] || wrong+=("$name is not ready")
  done
  versions=$(grep -h '^hft_build_info{' "$work"/* | grep -oE '(logic|schema)="[^"]*"' |
    sort -u) || true
  [ "$(wc -l <<<"$versions")" = 2 ] ||
    wrong+=("there must be one version of logic and schema, were: ${versions//$'\n'/ }")
}

must_move() {
  local entry name first=() place=0 left
  for entry in $all; do first+=("$(read_facts "${entry%:*}")"); done
  local deadline=$((SECONDS + moving_s))
  while :; do
    left=() place=0
    sleep 1
    read_all
    for entry in $all; do
      name=${entry%:*}
      [ "$name" = orchestrator ] || [ "$(read_facts "$name")" != "${first[place]}" ] ||
        left+=("$name")
      place=$((place + 1))
    done
    [ ${#left[@]} -gt 0 ] && [ "$SECONDS" -lt "$deadline" ] || break
  done
  [ ${#left[@]} -eq 0 ] || wrong+=("no fact reached ${left[*]} in $moving_s s")
}

environment=staging context="" moving_s=""
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage && exit ;;
    -e | --context | --moving)
      [ -n "${2:-}" ] || bad_usage "$1 must have a value"
      case $1 in -e) environment=$2 ;; --context) context=$2 ;; --moving) moving_s=$2 ;; esac
      shift
      ;;
    *) bad_usage "there is no $1" ;;
  esac
  shift
done
case $environment in
  staging | production) ;;
  *) bad_usage "-e must be staging or production, was $environment" ;;
esac
[[ $moving_s =~ ^[0-9]*$ ]] || bad_usage "--moving must be whole seconds, was $moving_s"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wrong=()
read_all
[ ${#wrong[@]} -gt 0 ] || judge
[ -z "$moving_s" ] || [ ${#wrong[@]} -gt 0 ] || must_move
if [ ${#wrong[@]} -gt 0 ]; then
  printf 'smoke-test: %s\n' "${wrong[@]}" >&2
  exit 1
fi
echo "smoke-test: the six work as one line"
