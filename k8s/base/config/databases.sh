#!/usr/bin/env bash
# At PostgreSQL's first start: a database and a user each for the ledger and for MLflow, neither of
# which may look into the other's.
set -euo pipefail

for name in ledger mlflow; do
  # psql quotes the password; it stands on no command line.
  psql -v ON_ERROR_STOP=1 --username postgres <<SQL
\set password \`cat /etc/hft-postgres/$name-password\`
CREATE USER $name PASSWORD :'password';
CREATE DATABASE $name OWNER $name;
REVOKE ALL ON DATABASE $name FROM PUBLIC;
SQL
done
