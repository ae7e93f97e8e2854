#!/usr/bin/env bash
# The steps of a back-up, and of putting one back, that PostgreSQL's own programs do:
#   backup.sh ledger      begins a back-up: the ledger, before the log whose places it names
#   backup.sh registry    ends it: MLflow's tables; it is whole now, and the oldest go
#   backup.sh databases   puts both databases of the newest back-up, or of $BACKUP, in place
# Between the first two the log is saved, into `unfinished/log`.
set -euo pipefail
readonly backups=${BACKUPS:-/backups} secrets=${SECRETS:-/etc/hft-postgres} keep=${KEEP:-14}
readonly work=$backups/unfinished
export PGHOST=${PGHOST:-postgres}

as() { # NAME COMMAND...: its user, its password, its database; on no command line
  local name=$1
  shift
  PGUSER=$name PGDATABASE=$name PGPASSWORD=$(cat "$secrets/$name-password") "$@"
}

save() { as "$1" pg_dump --format=custom --file="$work/$1.dump"; }

finish() { # whole or not there: a name of its own is the last that it gets
  local old
  (cd "$work" && sha256sum ledger.dump mlflow.dump >SHA256SUMS)
  mv "$work" "$backups/$(date -u +%Y%m%dT%H%M%SZ)"
  for old in $(all | head -n "-$keep"); do rm -rf "${backups:?}/$old"; done
}

all() { # the names of all back-ups, the oldest first
  (cd "$backups" && find . -mindepth 1 -maxdepth 1 -name '[0-9]*T[0-9]*Z' -printf '%f\n') | sort
}

databases() {
  local name folder
  folder=$backups/${BACKUP:-$(all | tail -n 1)}
  [ -f "$folder/SHA256SUMS" ] || {
    echo "backup: $folder is no whole back-up" >&2
    exit 1
  }
  (cd "$folder" && sha256sum --quiet --strict --check SHA256SUMS)
  for name in ledger mlflow; do
    as "$name" pg_restore --clean --if-exists --no-owner --single-transaction --dbname="$name" \
      "$folder/$name.dump"
  done
}

case ${1:-} in
  ledger) rm -rf "$work" && mkdir -p "$work" && save ledger ;;
  registry) save mlflow && finish ;;
  databases) databases ;;
  *)
    echo "backup: usage: backup.sh ledger|registry|databases" >&2
    exit 2
    ;;
esac
