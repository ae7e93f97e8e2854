#!/usr/bin/env bash
# Deploys to Kubernetes, and what an operator does there afterwards; --help says how.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# What a dry run would ask is shown here, wherever the answer would have gone.
exec 3>&1

# In this order they are replaced: those that serve on until the new one is ready first, so that a
# version that does not start is found before anything has ended.
readonly rolling="kalman-filter garch-model risk-manager"
readonly singletons="execution ingestion orchestrator"
readonly sets="kafka redis postgres mlflow prometheus alertmanager grafana \
pipeline-metrics pushgateway"
readonly images="ingestion kalman_filter garch_model risk_manager execution orchestrator \
pipelines mlflow prometheus alertmanager grafana"
# Others' images, as the manifests name them: NAME=IMAGE.
readonly theirs="kafka=apache/kafka redis=redis postgres=postgres \
node-exporter=prom/node-exporter pushgateway=prom/pushgateway"
readonly databases="ledger mlflow" replicas_max=3
readonly rollout_s_max=${ROLLOUT_S_MAX:-600}
kinds=serviceaccounts,configmaps,services,persistentvolumeclaims
kinds+=,deployments,statefulsets,cronjobs,networkpolicies,ingresses
# As each object was applied; a cluster's own fields are not in it.
annotation='.metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration'
readonly kinds annotation applied='{range .items[*]}---{"\n"}{'"$annotation"'}{"\n"}{end}'
readonly before=before-last-deploy ours=app.kubernetes.io/part-of=hft-crypto-bot

usage() {
  cat <<'END'
scripts/deploy-k8s.sh [-e ENV] [OPTION...] VERB [ARGUMENT...]

  deploy                   render k8s/ENV, apply it, wait until it serves; if it does not, what
                           served before is put back
  open                     a first calibration, registered: a new line opens with it
  status                   what runs; fails if anything is not ready
  logs [SERVICE]           the last lines of a service, or of all six, and what follows
  rollback [SERVICE]       everything as before the last deploy, or one service at its earlier
                           version
  scale SERVICE REPLICAS   0 stops a service; ingestion, execution and orchestrator are never more
                           than 1
  backup [DIR]             manifests, both databases, the registry's artifacts
                           (DIR: build/backup/ENV/TIME)
  restore DIR --yes        the databases and artifacts of a backup in place of what is there
  records DIR              what scripts/pipeline_metrics.py fetched into DIR, to where Prometheus
                           asks for it; what is there already stays

  -e ENV           staging (the default) or production
  --tag TAG        the version of our images (the default is $IMAGE_TAG, else the commit, as
                   scripts/docker-build.sh and the workflow name them); in staging alone
  --digests FILE   or each image by its content, as lines "NAME sha256:...", others' too
                   (scripts/ci/digest.sh theirs); production takes nothing else
  --context NAME   the context of kubectl, in place of the current one
  --take-over      the deploy that is said to be under way is dead: go on without it
  --first          the line was never open: deploy does not wait for its services (as where there
                   are none yet)
  --dry-run        print what would be asked of the cluster, and ask nothing
  --help           this

One deploy or rollback at a time: a second is refused. What is told to end (INT, TERM, HUP) puts back
what served before it ends.

Environment: REGISTRY (docker.io), DOCKER_USERNAME, IMAGE_PREFIX (hft-crypto-bot), IMAGE_TAG,
KUBECTL (kubectl), ROLLOUT_S_MAX (600) and ANSWER_S_MAX (180): how many seconds one roll-out, and
another answer of the cluster, is waited for.
Exit codes: 0 done, 1 failed, 2 bad usage, 3 refused by a rule.

Example: DOCKER_USERNAME=ada scripts/deploy-k8s.sh -e staging --tag 1a2b3c4 deploy
END
}

# shellcheck source=scripts/deploy/cluster.sh
. scripts/deploy/cluster.sh

# --- rendering ---

reference_of() { # IMAGE: what its line in kustomization.yaml names it by
  if [ -n "$digests" ]; then
    awk -v name="$1" '$1 == name { print "    digest: " $2 }' "$digests"
  else
    printf '    newTag: "%s"\n' "$tag"
  fi
}

names_of_theirs() {
  local pair
  for pair in $theirs; do echo "${pair%%=*}"; done
}

check_names() { # a name that no registry takes would be found out by pods that do not start
  local part='[a-z0-9]+([._-]+[a-z0-9]+)*'
  [ -n "${DOCKER_USERNAME:-}" ] ||
    bad_usage "DOCKER_USERNAME must be set: images are REGISTRY/DOCKER_USERNAME/..."
  [[ $DOCKER_USERNAME =~ ^$part(/$part)*$ ]] ||
    bad_usage "DOCKER_USERNAME must be small letters, digits and . _ - /, was '$DOCKER_USERNAME'"
  [[ ${REGISTRY:-docker.io} =~ ^[A-Za-z0-9.-]+(:[0-9]+)?(/$part)*$ ]] ||
    bad_usage "REGISTRY must be HOST or HOST:PORT, was '$REGISTRY'"
  [[ ${IMAGE_PREFIX:-hft-crypto-bot} =~ ^$part$ ]] ||
    bad_usage "IMAGE_PREFIX must be small letters, digits and . _ -, was '$IMAGE_PREFIX'"
}

check_references() {
  local name
  check_names
  if [ -n "$digests" ]; then
    [ -r "$digests" ] || bad_usage "--digests must name a readable file, was $digests"
    for name in $images $(names_of_theirs); do
      [ "$(grep -cE "^$name sha256:[0-9a-f]{64}\$" "$digests")" = 1 ] ||
        bad_usage "$digests must hold one line \"$name sha256:...\""
    done
    return
  fi
  [ "$environment" = staging ] ||
    refuse "production is deployed by --digests: a tag may come to name something else"
  [ -n "$tag" ] || tag=$(git rev-parse HEAD 2>/dev/null) || true
  [[ $tag =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] ||
    bad_usage "--tag must be a tag of an image, was '$tag'"
}

# A dry run shows what it made in one place; whatever else does has a folder of its own, so that no
# run beside it changes what it applies or puts back.
prepare() {
  [ "$dry" = 1 ] || work=$work.$(date -u +%Y%m%dT%H%M%SZ).$$
  mkdir -p "$work"
}

render() { # into $work/rendered.yaml
  local name prefix=${REGISTRY:-docker.io}/$DOCKER_USERNAME/${IMAGE_PREFIX:-hft-crypto-bot}
  prepare
  {
    printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n'
    printf 'resources: [../../../k8s/%s]\nimages:\n' "$environment"
    for name in $images; do
      printf '  - name: hft-crypto-bot-%s\n    newName: "%s-%s"\n' "$name" "$prefix" "$name"
      reference_of "$name"
    done
    # By a tag they stay at the version that the manifests name.
    [ -z "$digests" ] || for name in $theirs; do
      printf '  - name: %s\n' "${name#*=}"
      reference_of "${name%%=*}"
    done
  } >"$work/kustomization.yaml"
  "${KUBECTL:-kubectl}" kustomize "$work" >"$work/rendered.yaml" ||
    fail "k8s/$environment cannot be rendered; nothing was changed"
}

# --- deploy ---

remember() { # what serves now, here and in the cluster, where the next operator finds it
  if [ "$turn_is" = unfinished ]; then
    kept --ignore-not-found >"$work/before.yaml" || return 1
    if holds_services "$work/before.yaml"; then
      say "the deploy before this one ended half-way: what served before it stays kept"
      look_ready
      return
    fi
  fi
  ask get "$kinds" --selector "$ours" --output "jsonpath=$applied" >"$work/before.yaml" || return 1
  is_whole "$work/before.yaml" || return 1
  ! is_first || return 0
  look_ready || return 1
  local call
  words_of create configmap "$before" --from-file "manifests.yaml=$work/before.yaml" \
    --dry-run=client --output yaml
  if [ "$dry" = 1 ]; then show "${call[@]}"; else
    "${call[@]}" >"$work/remembered.yaml" || return 1
  fi
  # Applied by the server: an annotation would hold all of it a second time.
  change apply --server-side --force-conflicts --filename "$work/remembered.yaml" >/dev/null
}

look_ready() { # whether the line is open
  ready=$(ask get deployment orchestrator-service --output 'jsonpath={.status.readyReplicas}')
}

kept() { # [OPTION]: what served before the last deploy
  ask get configmap "$before" "$@" --output 'jsonpath={.data.manifests\.yaml}'
}

is_whole() { # FILE: whether it can be put back, all of what runs
  local running
  [ "$dry" = 0 ] || return 0
  ! grep -qvE '^(---|\{.*\})?$' "$1" || {
    say "the cluster's answer holds something else than manifests"
    return 1
  }
  running=$(ask get deployments --selector "$ours,app.kubernetes.io/component=stage" \
    --output name) || return 1
  [ -z "$running" ] || holds_services "$1" || {
    say "services run that were not applied by this script: they could not be put back"
    return 1
  }
}

is_first() { # whether no version served before
  [ "$first" = 1 ] || { [ "$dry" = 0 ] && ! holds_services "$work/before.yaml"; }
}

holds_services() { grep -q '"kind":"Deployment"' "$1"; }

# A service is ready once the line is open, and the line is opened by all of them together.
serves() { [ "$dry" = 1 ] || [ -n "$ready" ]; }

put_back() { # STEP: what served before the deploy, after a step of it failed
  local name kept=""
  # Nothing stops this but its own end, so that an impatient second signal leaves nothing half-way.
  trap '' INT TERM HUP
  say "failed: $1"
  if is_first; then
    turn_after=""
    fail "nothing served before, so nothing is put back; what was applied stays, and is not ready"
  fi
  say "puts back what served before"
  change apply --filename "$work/before.yaml" >/dev/null || kept+=" (the manifests were not taken)"
  on_end=ended_back
  trap ended INT TERM HUP
  for name in $sets; do rolled_out "statefulset/$name" >&2 || kept+=" $name"; done
  for name in $rolling $singletons; do
    rolled_out "deployment/$name-service" >&2 || kept+=" $name"
  done
  [ -z "$kept" ] ||
    fail "DEPLOY FAILED AND THE OLD VERSION IS NOT BACK:$kept." \
      "Its manifests: $work/before.yaml, configmap $before"
  turn_after=""
  fail "deploy failed, the old version serves"
}

ended_changed() { put_back "told to end half-way"; }
ended_back() {
  fail "THE OLD VERSION'S MANIFESTS ARE APPLIED, AND WHETHER IT SERVES WAS NOT WAITED FOR:" \
    "scripts/deploy-k8s.sh -e $environment status"
}

begins() { # ENDED: from here on something is changed, and an end from outside has that to do
  turn_after=unfinished
  on_end=$1
}

give_rights() { # what the log's users may do; the job does it by itself too, now and then
  local job
  job=rights-$(date -u +%Y%m%d%H%M%S)
  change create job "$job" --from cronjob/rights >/dev/null &&
    change wait --for condition=complete "job/$job" --timeout "${rollout_s_max}s" >/dev/null
}

selected() { # LABELS: the rendered objects that carry them
  change apply --filename "$work/rendered.yaml" --selector "$1" >/dev/null
}

deploy() {
  local code=0 name
  check_references
  guard patch deployments.apps
  render
  say "renders k8s/$environment to $work/rendered.yaml"
  ask diff --filename "$work/rendered.yaml" >"$work/diff" || code=$?
  [ "$code" -le 1 ] || fail "the cluster did not say what would change; nothing was changed"
  ask apply --dry-run=server --filename "$work/rendered.yaml" >/dev/null ||
    fail "the cluster refuses the manifests; nothing was changed"
  if [ "$code" = 0 ] && [ "$dry" = 0 ]; then
    say "nothing differs from what is deployed"
    status
    settle
    return
  fi
  take_turn
  remember || fail "what serves now could not be kept; nothing was changed"
  begins ended_changed
  selected app.kubernetes.io/component!=stage ||
    put_back "what the services rest on was not taken"
  for name in $sets; do rolled_out "statefulset/$name" || put_back "$name is not ready"; done
  give_rights || put_back "the log's users were not given their rights"
  if is_first; then
    selected app.kubernetes.io/component=stage || put_back "the services were not taken"
    turn_after=""
    done_is "deployed. The line opens once the registry has a champion:" \
      "scripts/deploy-k8s.sh -e $environment open"
    return
  fi
  if ! serves; then
    selected app.kubernetes.io/component=stage || put_back "the services were not taken"
  fi
  for name in $rolling $singletons; do
    selected "app.kubernetes.io/component=stage,app.kubernetes.io/name=$name" ||
      put_back "$name was not taken"
    rolled_out "deployment/$name-service" || put_back "$name is not ready"
  done
  turn_after=""
  done_is "deployed, everything serves"
}

open_line() {
  local job
  job=opening-$(date -u +%Y%m%d%H%M%S)
  guard create jobs.batch
  on_end=ended_somewhere
  change create job "$job" --from cronjob/calibration || fail "the calibration was not started"
  change wait --for condition=complete "job/$job" --timeout "${rollout_s_max}s" ||
    fail "the calibration did not end well: scripts/deploy-k8s.sh -e $environment logs calibration"
  local name
  for name in $rolling $singletons; do
    rolled_out "deployment/$name-service" || fail "$name is not ready"
  done
  done_is "the line is open"
}

# --- what an operator does ---

ended_somewhere() {
  fail "told to end half-way: scripts/deploy-k8s.sh -e $environment status says how it stands"
}
ended_reading() { fail "told to end: the back-up is not whole; nothing was changed"; }
ended_logs() { exit 130; }

service_of() { # NAME: of the six, as its manifests call it, in `service`
  service=${1//_/-} && service=${service%-service}
  case " $rolling $singletons " in
    *" $service "*) ;;
    *) bad_usage "a service must be one of $rolling $singletons, was $1" ;;
  esac
}

status() {
  local name late=""
  has_kubectl
  ask get deployments,statefulsets,cronjobs,pods --selector "$ours" --output wide ||
    fail "the cluster does not answer"
  for name in $sets; do is_out "statefulset/$name" || late+=" $name"; done
  for name in $rolling $singletons; do is_out "deployment/$name-service" || late+=" $name"; done
  [ -z "$late" ] || fail "not ready:$late"
}

is_out() { # KIND/NAME: whether it is rolled out at this moment
  local said
  if [ "$dry" = 1 ]; then ask rollout status "$1" --watch=false && return; fi
  said=$(ask rollout status "$1" --watch=false 2>&1) || return 1
  # It ends with 0 while it waits too.
  [[ $said == *"successfully rolled out"* || $said == *"roll"*" complete"* ]]
}

logs() {
  has_kubectl
  on_end=ended_logs # it has no other end
  local service tail=(--tail=200 --prefix --all-containers --follow)
  if [ "${1:-}" = calibration ]; then
    ask logs --selector app.kubernetes.io/name=calibration --tail=200 --prefix
  elif [ -n "${1:-}" ]; then
    service_of "$1"
    ask logs "deployment/$service-service" "${tail[@]}"
  else
    ask logs --selector app.kubernetes.io/component=stage --max-log-requests=12 "${tail[@]}"
  fi
}

rollback() {
  local service name late=""
  [ -z "${1:-}" ] || service_of "$1"
  guard patch deployments.apps
  prepare
  if [ -n "${1:-}" ]; then
    take_turn
    on_end=ended_rolling
    change rollout undo "deployment/$service-service" ||
      fail "$service has no earlier version, or it was not taken"
    rolled_out "deployment/$service-service" || fail "$service is not ready"
    done_is "$service is at its earlier version"
    return
  fi
  # A failed query is no empty answer.
  kept >"$work/rollback.yaml" ||
    fail "nothing is kept of before the last deploy, or no answer came; nothing was changed"
  [ "$dry" = 1 ] || holds_services "$work/rollback.yaml" ||
    fail "what is kept of before the last deploy holds no service; nothing was changed"
  take_turn
  begins ended_rolling
  change apply --filename "$work/rollback.yaml" ||
    fail "NOT ROLLED BACK, or in part: scripts/deploy-k8s.sh -e $environment status"
  for name in $sets; do rolled_out "statefulset/$name" || late+=" $name"; done
  for name in $rolling $singletons; do rolled_out "deployment/$name-service" || late+=" $name"; done
  [ -z "$late" ] || fail "rolled back, and not ready:$late"
  turn_after=""
  done_is "everything is as before the last deploy"
}

ended_rolling() {
  fail "told to end half-way: NOT ROLLED BACK, or in part:" \
    "scripts/deploy-k8s.sh -e $environment rollback, or status"
}

scale() { # SERVICE REPLICAS
  local service
  [ $# = 2 ] || bad_usage "scale takes a service and a number"
  service_of "$1"
  [[ $2 =~ ^[0-9]{1,3}$ ]] || bad_usage "REPLICAS must be a whole number, was $2"
  case " $singletons " in
    *" $service "*)
      [ "$2" -le 1 ] || refuse "of $service there is one alone: a second would be refused its lease"
      ;;
  esac
  # One partition: a second of the others is a spare that says the same; more are of no use.
  [ "$2" -le "$replicas_max" ] ||
    refuse "$service has one partition, $replicas_max are enough, was $2"
  guard patch deployments.apps/scale
  on_end=ended_somewhere
  change scale "deployment/$service-service" --replicas "$2" || fail "$service was not scaled"
  rolled_out "deployment/$service-service" || fail "$service is not ready"
  done_is "$service runs $2 times"
}

inside() { # SET COMMAND...: in its one pod, stdin passed on
  local set_name=$1
  shift
  ask exec --stdin "$set_name-0" --container "$set_name" -- "$@"
}

backup() { # [DIR]
  local name dir=${1:-build/backup/$environment/$(date -u +%Y%m%dT%H%M%SZ)}
  [ ! -e "$dir" ] || bad_usage "DIR must not be there yet, was $dir"
  guard create pods/postgres-0 --subresource=exec
  local part=$dir.part
  on_end=ended_reading
  [ "$dry" = 1 ] || { rm -rf "$part" && mkdir -p "$part"; }
  for name in $databases; do
    to "$part/$name.dump" inside postgres pg_dump --username=postgres --format=custom "$name" ||
      fail "database $name was not backed up; $part is not whole"
  done
  # After its tables, so that whatever they name is in it.
  to "$part/artifacts.tar" inside mlflow tar --create --file=- --directory=/var/lib/mlflow . ||
    fail "the artifacts were not backed up; $part is not whole"
  to "$part/manifests.yaml" ask get "$kinds" --selector "$ours" --output "jsonpath=$applied" ||
    fail "the manifests were not backed up; $part is not whole"
  [ "$dry" = 0 ] || return 0
  (cd "$part" && sha256sum ./*.dump artifacts.tar manifests.yaml >SHA256SUMS)
  # Whole or not there.
  mv "$part" "$dir"
  say "$dir holds $(du -sh "$dir" | cut -f1)"
}

to() { # FILE COMMAND...: what a command says, which must be something
  local file=$1
  shift
  if [ "$dry" = 1 ]; then "$@" && return; fi
  "$@" </dev/null >"$file" && [ -s "$file" ]
}

restore() { # DIR
  local name dir=${1:-} done=""
  [ -n "$dir" ] || bad_usage "restore takes the directory of a backup"
  [ -r "$dir/SHA256SUMS" ] || bad_usage "DIR must be a whole backup, was $dir"
  (cd "$dir" && sha256sum --quiet --strict --check SHA256SUMS >&2) ||
    fail "$dir is damaged; nothing was changed"
  [ "$yes" = 1 ] || refuse "restore puts $dir in place of what is in $namespace: say --yes"
  guard create pods/postgres-0 --subresource=exec
  on_end=ended_somewhere
  change scale deployment/orchestrator-service --replicas 0 ||
    fail "the orchestrator goes on; nothing was changed"
  # Whatever happens, it comes back: the rest of the line needs it.
  trap 'begin_again' EXIT
  change wait --for delete pod --selector app.kubernetes.io/name=orchestrator \
    --timeout "${rollout_s_max}s" ||
    fail "the orchestrator does not end; nothing was restored"
  for name in $databases; do
    inside postgres pg_restore --username=postgres --dbname="$name" --clean --if-exists \
      --single-transaction <"$dir/$name.dump" ||
      fail "database $name is as it was; restored:${done:- nothing}"
    done+=" $name"
  done
  inside mlflow tar --extract --file=- --directory=/var/lib/mlflow <"$dir/artifacts.tar" ||
    fail "the artifacts were not restored, or in part; restored:$done"
  trap - EXIT
  begin_again || exit 1
  done_is "restored:$done artifacts"
}

# In the pod: each run comes whole to its place, beside those that are there.
# shellcheck disable=SC2016 # it is the pod's shell that expands
readonly take_records='cd /var/lib/pipeline-metrics
rm -rf incoming
mkdir -p incoming runs
tar --extract --file=- --directory=incoming
for run in incoming/runs/*/; do
  name=$(basename "$run")
  [ ! -d "$run" ] || [ -e "runs/$name" ] || mv "$run" "runs/$name"
done
for file in incoming/*.trivy.json incoming/deployments.jsonl; do
  [ ! -f "$file" ] || mv "$file" .
done
rm -rf incoming'

records_of() { # DIR: what pipeline_metrics.py reads there
  (cd "$1" 2>/dev/null && shopt -s nullglob && echo runs/*/ ./*.trivy.json deployments.json[l])
}

records() { # DIR
  local dir=${1:-} found
  [ -n "$dir" ] || bad_usage "records takes the directory of scripts/pipeline_metrics.py fetch"
  read -ra found < <(records_of "$dir") || true
  [ ${#found[@]} -gt 0 ] || bad_usage "DIR must hold records of runs or of deployments, was $dir"
  guard create pods/pipeline-metrics-0 --subresource=exec
  on_end=ended_somewhere
  if [ "$dry" = 1 ]; then
    inside pipeline-metrics sh -ec "$take_records"
    return
  fi
  tar --create --file=- --directory="$dir" "${found[@]}" |
    inside pipeline-metrics sh -ec "$take_records" ||
    fail "the records were not taken, or in part: the same again brings the rest"
  done_is "${#found[@]} records of $dir are there"
}

begin_again() {
  if change scale deployment/orchestrator-service --replicas 1; then
    if rolled_out deployment/orchestrator-service; then return; fi
  fi
  say "THE ORCHESTRATOR DOES NOT RUN:" \
    "scripts/deploy-k8s.sh -e $environment scale orchestrator 1"
  return 1
}

# --- words ---

environment=staging dry=0 yes=0 first=0 take_over=0 ready="" context="" tag=${IMAGE_TAG:-} digests="" given=()
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage && exit ;;
    --dry-run) dry=1 ;;
    --yes) yes=1 ;;
    --first) first=1 ;;
    --take-over) take_over=1 ;;
    -e | --tag | --digests | --context)
      [ -n "${2:-}" ] || bad_usage "$1 must have a value"
      case $1 in
        -e) environment=$2 ;;
        --tag) tag=$2 ;;
        --digests) digests=$2 ;;
        --context) context=$2 ;;
      esac
      shift
      ;;
    -*) bad_usage "no option is called $1" ;;
    *) given+=("$1") ;;
  esac
  shift
done
case $environment in
  staging | production) ;;
  *) bad_usage "-e must be staging or production, was $environment" ;;
esac
[ ${#given[@]} -gt 0 ] || bad_usage "a verb is missing"
readonly namespace=hft-$environment
work=build/deploy/$environment
set -- "${given[@]:1}"
case ${given[0]} in
  deploy | open | status) [ $# = 0 ] || bad_usage "${given[0]} takes no argument, was $*" ;;
  logs | rollback | backup | restore | records)
    [ $# -le 1 ] || bad_usage "${given[0]} takes one argument, was $*"
    ;;
esac
case ${given[0]} in
  open) open_line ;;
  deploy | status | logs | rollback | scale | backup | restore | records) "${given[0]}" "$@" ;;
  *) bad_usage "no verb is called ${given[0]}" ;;
esac
