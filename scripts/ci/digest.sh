#!/usr/bin/env bash
# Hands an image on by its digest. The folder build/digests holds a file an image, with `NAME@DIGEST` in it.
#
#   IMAGE=execution NAME=docker.io/me/hft-crypto-bot-execution DIGEST=sha256:... scripts/ci/digest.sh write
#   IMAGE=execution scripts/ci/digest.sh target    type and image to scan, as outputs of a step; here, on stdout
#   scripts/ci/digest.sh list                      a line `IMAGE sha256:...` each, for scripts/deploy-k8s.sh --digests
#   scripts/ci/digest.sh verify                    every image there was built by this repository, or exit 1
#
# `target` is the repository itself where the image was sent nowhere. `verify` needs `gh` and GITHUB_REPOSITORY.
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
readonly folder=${DIGESTS:-build/digests}

fail() {
  echo "digest: $*" >&2
  exit 1
}

write() {
  [[ ${DIGEST:-} =~ ^sha256:[0-9a-f]{64}$ ]] || fail "DIGEST must be sha256: and 64 hexadecimal digits, was '${DIGEST:-}'"
  mkdir -p "$folder"
  echo "${NAME:?}@$DIGEST" >"$folder/${IMAGE:?}"
}

target() {
  local out=${GITHUB_OUTPUT:-/dev/stdout}
  if [ -f "$folder/${IMAGE:?}" ]; then
    printf 'type=image\nimage=%s\n' "$(cat "$folder/$IMAGE")" >>"$out"
  else
    printf 'type=fs\nimage=\n' >>"$out"
  fi
}

list() {
  local file found=0
  for file in "$folder"/*; do
    [ -f "$file" ] || continue
    echo "$(basename "$file") $(sed 's/.*@//' "$file")"
    found=1
  done
  [ "$found" = 1 ] || fail "there must be a digest in $folder, there was none"
}

verify() {
  local file found=0
  for file in "$folder"/*; do
    [ -f "$file" ] || continue
    gh attestation verify "oci://$(cat "$file")" --repo "${GITHUB_REPOSITORY:?}" ||
      fail "$(basename "$file") must be attested by ${GITHUB_REPOSITORY}, was not"
    found=$((found + 1))
  done
  [ "$found" -gt 0 ] || fail "there must be a digest in $folder, there was none"
  echo "digest: $found images are attested"
}

case ${1:-} in
  write | target | list | verify) "$1" ;;
  *)
    echo "digest: usage: scripts/ci/digest.sh write|target|list|verify" >&2
    exit 2
    ;;
esac
