#!/usr/bin/env bash
# Installs what the integration tests start beside Python, where a command is missing (Debian, Ubuntu).
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above

missing=()
wanted() { command -v "$2" >/dev/null || compgen -G "${3:-/nonexistent}" >/dev/null || missing+=("$1"); }
wanted default-jre-headless java
wanted maven mvn
wanted postgresql postgres '/usr/lib/postgresql/*/bin/postgres'
wanted redis-server redis-server
# The alerts' rules and routes are tried by the programs that raise and deliver them.
wanted prometheus promtool
wanted prometheus-alertmanager amtool
wanted prometheus-node-exporter prometheus-node-exporter
wanted prometheus-pushgateway prometheus-pushgateway
command -v google-chrome >/dev/null || wanted chromium chromium

[ ${#missing[@]} -gt 0 ] || exit 0
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
echo "packages: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null
