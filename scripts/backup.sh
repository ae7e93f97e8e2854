#!/usr/bin/env bash
# Backs up what this machine's settings name, while it runs: scripts/backup.sh DIR [WORD...]
#
# The log (Kafka), the operators' words (Redis), the ledger, the registry and HFT_HOME, as far as there are; DIR is
# whole or not there. More words: scripts/backup.sh --help. A cluster: scripts/deploy-k8s.sh backup.
set -euo pipefail
PYTHONPATH=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
exec "${PYTHONPATH%%:*}/.venv/bin/python" -m serving.backup save "$@"
