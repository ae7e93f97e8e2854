#!/usr/bin/env bash
# Writes the cluster's address and key, KUBE_CONFIG in base64, into a file that this user alone may read, and names it in
# KUBECONFIG for the later steps of a workflow's job; here it prints that variable.
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above
umask 077
file=${RUNNER_TEMP:-$(mktemp -d)}/kubeconfig
[ -n "${KUBE_CONFIG:-}" ] || {
  echo "kubeconfig: KUBE_CONFIG must hold a kubeconfig in base64, it was unset" >&2
  exit 1
}
# What it holds is never shown, not even where it is wrong.
if ! base64 --decode <<<"$KUBE_CONFIG" >"$file" 2>/dev/null || ! grep -q '^clusters:' "$file"; then
  rm -f "$file"
  echo "kubeconfig: KUBE_CONFIG must hold a kubeconfig in base64, held something else" >&2
  exit 1
fi
echo "KUBECONFIG=$file" >>"${GITHUB_ENV:-/dev/stdout}"
