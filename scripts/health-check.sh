#!/usr/bin/env bash
# Asks whether every service is ready; `scripts/health-check.sh --help` says how.
set -euo pipefail

# In the order of the line, which is that of the ports after `--port`.
readonly all="ingestion:8000 kalman_filter:8001 garch_model:8002 risk_manager:8004 execution:8003 orchestrator:8005"

usage() {
  cat <<'END'
scripts/health-check.sh [-e ENV] [--context NAME | --local | --address URL] [--wait SECONDS] [--dry-run] [SERVICE...]

Asks /healthz and /readyz of the named services, or of all six, and says of each whether it is ready, and if not why.

  -e ENV           staging (the default) or production: in the cluster, by kubectl exec in namespace hft-ENV
  --context NAME   the context of kubectl, in place of the current one
  --local          here instead, on this host's ports 8000 to 8005
  --address URL    here instead, on the host of URL, such as http://10.0.0.7
  --wait SECONDS   ask again until all are ready, or so long (default 0)
  --dry-run        print what would be asked, and ask nothing
  --help           this

Environment: KUBECTL (kubectl); ANSWER_S_MAX (30), how many seconds a page is waited for; PORT_FIRST, for --local and --address, where `python -m serving all --port` was given.
Exit codes: 0 all are ready, 1 one is not or does not answer in time, 2 bad usage.

Example: scripts/health-check.sh -e production --wait 300
END
}

bad_usage() {
  echo "health-check: $*; scripts/health-check.sh --help says how" >&2
  exit 2
}

# What is asked runs in the pod itself, where there is no curl: the page's first line, and the code of the answer.
# A page that does not answer is told as code 000.
readonly ask='import sys, urllib.error, urllib.request as request
try:
    answer = request.urlopen(sys.argv[1], timeout=5)
except urllib.error.HTTPError as error:
    answer = error
except OSError as error:
    sys.exit(print("000", getattr(error, "reason", error)))
print(answer.status, answer.read(500).decode("utf-8", "replace").partition("\n")[0])'

readonly answer_s_max=${ANSWER_S_MAX:-30}

deployment_of() { echo "deployment/${1//_/-}-service"; }

port_of() { # NAME PORT: where it is asked from here
  local entry place=0
  if [ -n "${PORT_FIRST:-}" ]; then
    for entry in $all; do
      if [ "$entry" = "$1:$2" ]; then echo $((PORT_FIRST + place)); fi
      place=$((place + 1))
    done
  else
    echo "$2"
  fi
}

command_of() { # NAME PORT PAGE; the words of the command, in `words`
  if [ -n "$address" ]; then
    words=(python3 -c "$ask" "$address:$(port_of "$1" "$2")$3")
  else
    words=("${KUBECTL:-kubectl}" ${context:+--context "$context"} --namespace "hft-$environment" --request-timeout=20s
      exec "$(deployment_of "$1")" -- python3 -c "$ask" "http://127.0.0.1:$2$3")
  fi
}

answer_of() { # NAME PORT PAGE: code and first line; never fails
  local words said code=0
  command_of "$@"
  # What runs in a pod is under no time limit of the cluster's.
  said=$(timeout --kill-after=5 "$answer_s_max" "${words[@]}" 2>&1 </dev/null) || code=$?
  if [ "$code" = 0 ]; then
    echo "$said"
  elif [ "$code" = 124 ]; then
    echo "000 no answer within $answer_s_max s"
  else
    echo "000 $(tail -n 1 <<<"$said")"
  fi
}

look() { # NAME PORT: 0 when ready; says what it saw in `line`
  local alive ready
  alive=$(answer_of "$1" "$2" /healthz)
  if [ "${alive%% *}" != 200 ]; then
    line="$1: does not answer: ${alive#* }"
    return 1
  fi
  ready=$(answer_of "$1" "$2" /readyz)
  line="$1: ${ready#* }"
  [ "${ready%% *}" = 200 ]
}

round() { # every service once; the lines in `report`
  local entry line code=0
  report=""
  for entry in "${entries[@]}"; do
    look "${entry%:*}" "${entry#*:}" || code=1
    report+="$line"$'\n'
  done
  return "$code"
}

environment=staging context="" address="" wait_s=0 dry=0 names=()
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage && exit ;;
    --dry-run) dry=1 ;;
    --local) address=http://127.0.0.1 ;;
    -e | --context | --address | --wait)
      [ -n "${2:-}" ] || bad_usage "$1 must have a value"
      case $1 in
        -e) environment=$2 ;;
        --context) context=$2 ;;
        --address) address=${2%/} ;;
        --wait) wait_s=$2 ;;
      esac
      shift
      ;;
    -*) bad_usage "no option is called $1" ;;
    *) name=${1//-/_} && names+=("${name%_service}") ;;
  esac
  shift
done
case $environment in staging | production) ;; *) bad_usage "-e must be staging or production, was $environment" ;; esac
[[ -z $address || $address =~ ^https?://[^/:]+$ ]] ||
  bad_usage "--address must be http://HOST, each service has its own port, was $address"
[[ $wait_s =~ ^[0-9]+$ ]] || bad_usage "--wait must be whole seconds, was $wait_s"
entries=()
for entry in $all; do
  if [ ${#names[@]} -eq 0 ]; then entries+=("$entry"); fi
  for name in "${names[@]}"; do if [ "$name" = "${entry%:*}" ]; then entries+=("$entry"); fi; done
done
[ ${#names[@]} -eq 0 ] || [ ${#names[@]} -eq ${#entries[@]} ] ||
  bad_usage "a service must be one of ${all//:80??/}, was one of ${names[*]}"

if [ "$dry" = 1 ]; then
  for entry in "${entries[@]}"; do
    for page in /healthz /readyz; do
      if [ -n "$address" ]; then
        echo "GET $address:$(port_of "${entry%:*}" "${entry#*:}")$page"
      else
        echo "in hft-$environment, $(deployment_of "${entry%:*}"): GET http://127.0.0.1:${entry#*:}$page"
      fi
    done
  done
  exit
fi
deadline=$((SECONDS + wait_s))
until round; do
  if [ "$SECONDS" -ge "$deadline" ]; then
    printf '%s' "$report"
    echo "health-check: not every service is ready" >&2
    exit 1
  fi
  sleep 2
done
printf '%s' "$report"
