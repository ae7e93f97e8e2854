#!/usr/bin/env bash
# At PostgreSQL's first start: a database and a user each for the ledger and for MLflow, neither of
# which may look into the other's. Where that start was cut short it may be run again, by hand: what
# is there stays, with the passwords of now.
set -euo pipefail

for name in ledger mlflow; do
  # psql quotes the password; it stands on no command line.
  psql -v ON_ERROR_STOP=1 --username postgres <<SQL
\set password \`cat /etc/hft-postgres/$name-password\`
SELECT 'CREATE USER $name' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$name') \gexec
ALTER USER $name PASSWORD :'password';
SELECT 'CREATE DATABASE $name OWNER $name'
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '$name') \gexec
REVOKE ALL ON DATABASE $name FROM PUBLIC;
SQL
done
