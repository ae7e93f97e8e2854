#!/usr/bin/env bash
# Builds an image twice from nothing and holds the two against each other: scripts/reproducible.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'END'
scripts/reproducible.sh [--keep DIR] IMAGE

Builds IMAGE (as scripts/docker-build.sh names it) twice without a cache, saves both, looks through the first for
secrets, and compares them layer by layer and file by file: names, modes, owners, contents and configuration. Times of
files are BuildKit's at the export (image.yml: SOURCE_DATE_EPOCH, rewrite-timestamp), so that equal layers get equal
digests; they are left out here.

  --keep DIR  keep the saved images there (a gigabyte each); else they go where temporary files do and are removed
  --help      this

Environment: that of scripts/docker-build.sh. Exit codes: 0 the same, 1 not or not built, 2 bad usage.
END
}

bad_usage() {
  echo "reproducible: $*; scripts/reproducible.sh --help says how" >&2
  exit 2
}

keep="" image=""
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage && exit ;;
    --keep)
      keep=${2:-}
      [ -n "$keep" ] || bad_usage "--keep must have a value"
      shift
      ;;
    -*) bad_usage "no option is called $1" ;;
    *)
      [ -z "$image" ] || bad_usage "one image at a time, were $image and $1"
      image=$1
      ;;
  esac
  shift
done
[ -n "$image" ] || bad_usage "an image must be named"

docker=${DOCKER:-docker}
python=.venv/bin/python
[ -x "$python" ] || python=python3
if [ -n "$keep" ]; then
  mkdir -p "$keep"
else
  keep=$(mktemp -d)
  trap 'rm -rf "$keep"' EXIT
fi
for build in a b; do
  tag=reproducible-$build
  TAG=$tag DOCKER_USERNAME="" DOCKER_BUILD_ARGUMENTS="--no-cache ${DOCKER_BUILD_ARGUMENTS:-}" \
    scripts/docker-build.sh "$image"
  "$docker" save --output "$keep/$build.tar" "${IMAGE_PREFIX:-hft-crypto-bot}-$image:$tag"
done
"$python" scripts/ci/image_secrets.py "$keep/a.tar"
"$python" scripts/ci/image_compare.py "$keep/a.tar" "$keep/b.tar"
