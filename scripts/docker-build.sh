#!/usr/bin/env bash
# Builds the images of the project; `scripts/docker-build.sh --help` says how.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly services="ingestion kalman_filter garch_model execution risk_manager orchestrator"
readonly others="pipelines mlflow prometheus alertmanager grafana"

usage() {
  cat <<'END'
scripts/docker-build.sh [--dry-run | --check | --sbom] [--push] [--platform LIST] [IMAGE...]

Builds the named images, or all: ingestion, kalman_filter, garch_model, execution, risk_manager,
orchestrator, pipelines, mlflow, prometheus, alertmanager, grafana. An image is
$REGISTRY/$DOCKER_USERNAME/$IMAGE_PREFIX-IMAGE:$TAG, without the first two where DOCKER_USERNAME is
unset.

  --dry-run        print the commands and run none
  --check          look the Dockerfiles over, and build nothing (Docker has no dry run of a build)
  --sbom           write build/sbom/IMAGE.cdx.json of each: what the image's lock installs, as
                   CycloneDX with the hashes; the monitoring's images have no lock, theirs is made of
                   the image (image.yml)
  --push           send the images to the registry
  --platform LIST  such as linux/amd64,linux/arm64; several need --push
  --help           this

Environment: REGISTRY (docker.io), DOCKER_USERNAME, IMAGE_PREFIX (hft-crypto-bot), TAG (the commit),
BASE_IMAGE (the Dockerfile's), NUMBA_CPU_NAME (generic), SOURCE (where the source is, for the label;
none), DOCKER (docker), DOCKER_BUILD_ARGUMENTS (more words for each build).
Exit codes: 0 done, 1 a build or a check failed, 2 bad usage.

Example: TAG=test scripts/docker-build.sh execution
END
}

bad_usage() {
  echo "docker-build: $*; scripts/docker-build.sh --help says how" >&2
  exit 2
}

dockerfile_of() {
  case " $services " in
    *" $1 "*) echo "serving/$1/Dockerfile" ;;
    *) echo "docker/$1/Dockerfile" ;;
  esac
}

image_of() { echo "${DOCKER_USERNAME:+${REGISTRY:-docker.io}/$DOCKER_USERNAME/}${IMAGE_PREFIX:-hft-crypto-bot}-$1:$tag"; }

check() { # IMAGE...
  local name files=()
  scripts/dockerfiles.sh --check
  for name in "$@"; do files+=("$(dockerfile_of "$name")"); done
  "$hadolint" "${files[@]}"
  echo "docker-build: ${#files[@]} Dockerfiles are well"
}

lock_of() {
  case " $services " in
    *" $1 "*) echo requirements/services.lock ;;
  esac
  case $1 in
    pipelines) echo requirements/research.lock ;;
    mlflow) echo requirements/mlflow.lock ;;
  esac
}

sbom() { # IMAGE
  local lock file=build/sbom/$1.cdx.json
  lock=$(lock_of "$1")
  mkdir -p build/sbom
  # It warns that a lock does not say which package wants which.
  PYTHONWARNINGS=ignore::UserWarning "$cyclonedx" requirements --pyproject pyproject.toml \
    --output-reproducible --output-file "$file" "$lock"
  echo "docker-build: $file has the $(grep -c '==' "$lock") packages of $lock"
}

build() { # IMAGE
  local command=("$docker" build --file "$(dockerfile_of "$1")" --tag "$(image_of "$1")"
    --build-arg "REVISION=$revision$changed")
  # The monitoring's images stand on their makers' own.
  case $1 in
    prometheus | alertmanager | grafana) ;;
    *) [ -z "${BASE_IMAGE:-}" ] || command+=(--build-arg "BASE_IMAGE=$BASE_IMAGE") ;;
  esac
  [ -z "${NUMBA_CPU_NAME:-}" ] || command+=(--build-arg "NUMBA_CPU_NAME=$NUMBA_CPU_NAME")
  [ -z "${SOURCE:-}" ] || command+=(--build-arg "SOURCE=$SOURCE")
  [ -z "$platform" ] || command+=(--platform "$platform")
  # Of several platforms the builder keeps no image here: it sends them itself.
  if [ "$push" = 1 ] && [ -n "$platform" ]; then command+=(--push); fi
  # shellcheck disable=SC2206 # words, as they say
  command+=(${DOCKER_BUILD_ARGUMENTS:-} .)
  run "${command[@]}"
  if [ "$push" = 1 ] && [ -z "$platform" ]; then run "$docker" push "$(image_of "$1")"; fi
}

run() {
  if [ "$dry" = 1 ]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

dry=0 only_check=0 only_sbom=0 push=0 platform="" wanted=()
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage && exit ;;
    --dry-run) dry=1 ;;
    --check) only_check=1 ;;
    --sbom) only_sbom=1 ;;
    --push) push=1 ;;
    --platform)
      platform=${2:-}
      [ -n "$platform" ] || bad_usage "--platform must have a value"
      shift
      ;;
    -*) bad_usage "no option is called $1" ;;
    *)
      case " $services $others " in
        *" $1 "*) wanted+=("$1") ;;
        *) bad_usage "an image must be one of $services $others, was $1" ;;
      esac
      ;;
  esac
  shift
done
case $platform in *,*) [ "$push" = 1 ] || bad_usage "several platforms need --push, were $platform" ;; esac
if [ "$push" = 1 ] && [ -z "${DOCKER_USERNAME:-}" ]; then bad_usage "--push needs DOCKER_USERNAME, it was unset"; fi
if [ "$only_sbom" = 1 ]; then
  [ ${#wanted[@]} -gt 0 ] || read -ra wanted <<<"$services pipelines mlflow"
  for name in "${wanted[@]}"; do
    [ -n "$(lock_of "$name")" ] || bad_usage "--sbom is of an image with a lock, was $name"
  done
fi
[ ${#wanted[@]} -gt 0 ] || read -ra wanted <<<"$services $others"

readonly docker=${DOCKER:-docker}
hadolint=.venv/bin/hadolint
[ -x "$hadolint" ] || hadolint=hadolint
cyclonedx=.venv/bin/cyclonedx-py
[ -x "$cyclonedx" ] || cyclonedx="cyclonedx-py"
revision=$(git rev-parse HEAD 2>/dev/null || true)
# As the project's own runs say it: files differ from the commit.
[ -z "$(git status --porcelain --untracked-files=no 2>/dev/null)" ] && changed="" || changed=+
tag=${TAG:-${revision:-latest}}
if [ "$only_check" = 1 ]; then
  check "${wanted[@]}"
  exit
fi
if [ "$only_sbom" = 1 ]; then
  for name in "${wanted[@]}"; do sbom "$name"; done
  exit
fi
for name in "${wanted[@]}"; do build "$name"; done
