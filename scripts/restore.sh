#!/usr/bin/env bash
# Puts a back-up in place of what is there, once the line is stopped: scripts/restore.sh DIR --yes [WORD...]
#
# The line comes back halted, until `hft reset-kill`. HFT_HOME as it was is moved aside. More words:
# scripts/restore.sh --help. A cluster: docs/runbooks/procedures/backup_and_restore.md.
set -euo pipefail
PYTHONPATH=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
exec "${PYTHONPATH%%:*}/.venv/bin/python" -m serving.backup restore "$@"
