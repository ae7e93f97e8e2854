#!/usr/bin/env bash
# Hands an image on by its digest. The folder build/digests holds a file an image, with `NAME@DIGEST` in it.
#
#   IMAGE=execution NAME=docker.io/me/hft-crypto-bot-execution DIGEST=sha256:... scripts/ci/digest.sh write
#   IMAGE=execution scripts/ci/digest.sh target    type and image to scan, as outputs of a step; here, on stdout
#   scripts/ci/digest.sh list                      a line `IMAGE sha256:...` each, for scripts/deploy-k8s.sh --digests
#   scripts/ci/digest.sh theirs                    what others' images of the manifests are now, beside ours
#   scripts/ci/digest.sh verify                    every image there was built of this commit, or exit 1
#
# `target` is the repository itself where the image was sent nowhere, and for a pull request in place of others' too. `verify` needs `gh`, GITHUB_REPOSITORY,
# GITHUB_REF and GITHUB_SHA, and passes over what `theirs` wrote. `theirs` needs `docker buildx`, and asks for none that is there: production takes
# what staging ran.
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
  local out=${GITHUB_OUTPUT:-/dev/stdout} image=""
  if [ -f "$folder/${IMAGE:?}" ]; then
    image=$(cat "$folder/$IMAGE")
  elif [ "${GITHUB_EVENT_NAME:-}" != pull_request ]; then
    image=$(others | awk -v name="$IMAGE" '$1 == name { print $2 }')
  fi
  if [ -n "$image" ]; then
    printf 'type=image\nimage=%s\n' "$image" >>"$out"
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

others() { # NAME IMAGE:VERSION, a line each, as the manifests have them
  grep -rhoE 'image(:|, value:) [^ ]+:[A-Za-z0-9._-]+' k8s/base |
    awk '{ name = $NF; sub(/:.*/, "", name); sub(/.*\//, "", name); print name, $NF }' | sort --unique
}

theirs() {
  local name image digest
  mkdir -p "$folder"
  while read -r name image; do
    [ ! -f "$folder/$name" ] || continue
    digest=$(docker buildx imagetools inspect "$image" --format '{{json .Manifest}}' </dev/null |
      python3 -c 'import json, sys; print(json.load(sys.stdin)["digest"])') ||
      fail "the registry must say what $image is, it did not"
    NAME=${image%%:*} IMAGE=$name DIGEST=$digest write
  done < <(others)
}

is_theirs() { # FILE: whether it names another's image, as the manifests do
  local image
  image=$(others | awk -v name="$(basename "$1")" '$1 == name { print $2 }')
  [ -n "$image" ] && [[ $(cat "$1") == "${image%%:*}@sha256:"* ]]
}

verify() {
  local file found=0
  for file in "$folder"/*; do
    [ -f "$file" ] || continue
    ! is_theirs "$file" || continue
    # By this repository alone would be by any branch of it, whatever its workflow was made to do.
    gh attestation verify "oci://$(cat "$file")" --repo "${GITHUB_REPOSITORY:?}" \
      --signer-workflow "$GITHUB_REPOSITORY/.github/workflows/image.yml" \
      --source-ref "${GITHUB_REF:?}" --source-digest "${GITHUB_SHA:?}" \
      --deny-self-hosted-runners ||
      fail "$(basename "$file") must be attested by image.yml of ${GITHUB_REPOSITORY} at" \
        "$GITHUB_SHA, was not"
    found=$((found + 1))
  done
  [ "$found" -gt 0 ] || fail "there must be a digest in $folder, there was none"
  echo "digest: $found images are attested"
}

case ${1:-} in
  write | target | list | theirs | verify) "$1" ;;
  *)
    echo "digest: usage: scripts/ci/digest.sh write|target|list|theirs|verify" >&2
    exit 2
    ;;
esac
