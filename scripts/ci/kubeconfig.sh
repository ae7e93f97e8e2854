#!/usr/bin/env bash
# Writes the way to the cluster into a file that this user alone may read, and names it in
# KUBECONFIG for the later steps of a workflow's job; here it prints that variable.
#
# With KUBE_SERVER, the cluster's address, and KUBE_CA, its authority's certificate in base64,
# kubectl shows the workflow's own identity (scripts/ci/kube_token.py), and no key is kept anywhere.
# Else KUBE_CONFIG, a kubeconfig in base64, is the key. KUBE_AUDIENCE: whom the identity is shown to
# (the address).
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above
umask 077
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
file=${RUNNER_TEMP:-$(mktemp -d)}/kubeconfig

fail() {
  rm -f "$file"
  echo "kubeconfig: $*" >&2
  exit 1
}

by_identity() {
  [[ $KUBE_SERVER =~ ^https://[A-Za-z0-9./:_-]+$ ]] ||
    fail "KUBE_SERVER must be an https address, was '$KUBE_SERVER'"
  base64 --decode <<<"${KUBE_CA:-}" 2>/dev/null | grep -q 'BEGIN CERTIFICATE' ||
    fail "KUBE_CA must hold a certificate in base64, held something else"
  [ -n "${ACTIONS_ID_TOKEN_REQUEST_URL:-}" ] ||
    fail "the job must have the permission id-token: write, has not"
  cat >"$file" <<END
apiVersion: v1
kind: Config
current-context: github
clusters:
  - name: github
    cluster: {server: "$KUBE_SERVER", certificate-authority-data: "$(tr -d '\n' <<<"$KUBE_CA")"}
contexts:
  - name: github
    context: {cluster: github, user: github}
users:
  - name: github
    user:
      exec:
        apiVersion: client.authentication.k8s.io/v1
        command: python3
        args: ["$here/kube_token.py", "${KUBE_AUDIENCE:-$KUBE_SERVER}"]
        interactiveMode: Never
END
}

by_key() {
  [ -n "${KUBE_CONFIG:-}" ] ||
    fail "KUBE_SERVER must be set, or KUBE_CONFIG be a kubeconfig in base64: both were unset"
  # What it holds is never shown, not even where it is wrong.
  if ! base64 --decode <<<"$KUBE_CONFIG" >"$file" 2>/dev/null || ! grep -q '^clusters:' "$file"; then
    fail "KUBE_CONFIG must hold a kubeconfig in base64, held something else"
  fi
}

if [ -n "${KUBE_SERVER:-}" ]; then by_identity; else by_key; fi
echo "KUBECONFIG=$file" >>"${GITHUB_ENV:-/dev/stdout}"
