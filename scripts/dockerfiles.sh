#!/usr/bin/env bash
# Writes serving/SERVICE/Dockerfile of each service from docker/services/Dockerfile: scripts/dockerfiles.sh [--check]
#
# --check writes nothing and ends with 1 where one of them is not what would be written.
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly services="ingestion:8000 kalman_filter:8001 garch_model:8002 execution:8003 risk_manager:8004 orchestrator:8005"

made() { # SERVICE PORT
  sed -e "s/^ARG SERVICE=.*/ARG SERVICE=$1/" -e "s/^ARG PORT=.*/ARG PORT=$2/" docker/services/Dockerfile
}

case ${1:-} in
  "" | --check) ;;
  *)
    echo "dockerfiles: usage: scripts/dockerfiles.sh [--check]" >&2
    exit 2
    ;;
esac
stale=0
for entry in $services; do
  service=${entry%:*} port=${entry#*:}
  file=serving/$service/Dockerfile
  if [ "${1:-}" = --check ]; then
    made "$service" "$port" | cmp --silent - "$file" || {
      echo "dockerfiles: $file must be docker/services/Dockerfile for $service on $port, was not" >&2
      stale=1
    }
  else
    mkdir -p "serving/$service"
    made "$service" "$port" >"$file"
  fi
done
exit "$stale"
