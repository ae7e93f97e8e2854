# How scripts/deploy-k8s.sh speaks to the cluster, which sources this: no call is waited for without
# a bound, an end from outside is heard at once, and one deploy at a time changes a namespace.
# shellcheck shell=bash
# shellcheck disable=SC2154 # what the words of the script say is set there

readonly answer_s_max=${ANSWER_S_MAX:-180} inside_s_max=3600 asked_s_max=30
# A deploy that began so long ago has ended, whatever it left.
readonly turn=deploy-under-way turn_s_max=10800

# Words go where the script was started, wherever the call that a signal ends was writing to.
exec 4>/dev/null
if (: >&2); then exec 4>&2; fi
# A terminal that is gone takes none, and what follows them is done all the same.
say() { echo "deploy-k8s: $*" >&4 || true; }
done_is() { [ "$dry" = 1 ] || say "$*"; } # what a dry run does not bring about
fail() { say "$*"; exit 1; }
bad_usage() { say "$*; scripts/deploy-k8s.sh --help says how"; exit 2; }
refuse() { say "refused: $*"; exit 3; }

# --- calls ---

words_of() { # the words of a call, in `call`
  call=("${KUBECTL:-kubectl}")
  [ -z "$context" ] || call+=(--context "$context")
  call+=(--namespace "$namespace" "$@")
}

patience() { # VERB: for how many seconds it is waited for; 0 is for ever
  case $1 in
    rollout | wait) echo $((rollout_s_max + asked_s_max)) ;;
    exec) echo "$inside_s_max" ;;
    logs) echo 0 ;;
    *) echo "$answer_s_max" ;;
  esac
}

child=""
bounded() { # SECONDS COMMAND...: ends with it, and is left at once for a signal's trap
  local code=0
  timeout --foreground --kill-after=5 "$@" <&0 &
  child=$!
  wait "$child" || code=$?
  child=""
  [ "$code" != 124 ] || say "no answer within $1 s: ${*:2}"
  return "$code"
}

ask() { # what changes nothing
  local call
  words_of "$@"
  if [ "$dry" = 1 ]; then show "${call[@]}"; else bounded "$(patience "$1")" "${call[@]}"; fi
}

change() { ask "$@"; } # what changes something: one place to see every such call

show() { printf '%q ' "$@" >&3 && echo >&3; }

rolled_out() { # KIND/NAME
  change rollout status "$1" --timeout="${rollout_s_max}s"
}

# --- whose cluster ---

is_others() { # CONTEXT ENVIRONMENT: whether a word of its name is that environment's
  local words=${1,,}
  words=-${words//[^a-z0-9]/-}-
  [[ $words == *"$2"* || $words == *"-${2:0:4}-"* ]]
}

has_kubectl() {
  [ "$dry" = 1 ] || command -v "${KUBECTL:-kubectl}" >/dev/null ||
    fail "${KUBECTL:-kubectl} is needed, and was not found; nothing was changed"
}

# Whose cluster it is, before anything is asked of it; from here on every call names it, so that
# another terminal's change of the current context changes nothing here.
guard() { # VERB RESOURCE [OPTION]: what must be allowed
  local other=production
  [ "$environment" = staging ] || other=staging
  if [ "$dry" = 0 ]; then
    has_kubectl
    [ -n "$context" ] ||
      context=$(bounded "$asked_s_max" "${KUBECTL:-kubectl}" config current-context) ||
      fail "kubectl has no current context, so which cluster; nothing was changed"
    [ -n "$context" ] || fail "kubectl's current context has no name; nothing was changed"
  fi
  ! is_others "$context" "$other" || refuse "context $context is $other's and ENV is $environment"
  ask auth can-i --quiet "$@" "--request-timeout=${asked_s_max}s" >/dev/null ||
    fail "context $context may not $1 $2 in $namespace (an administrator applies" \
      "k8s/access/$environment first), or does not answer; nothing was changed"
}

# --- an end from outside ---

# What is done then: before anything was changed, nothing.
on_end=ended_unchanged
ended_unchanged() { fail "ended from outside; nothing was changed"; }

ended() {
  trap '' INT TERM HUP
  [ -z "$child" ] || kill "$child" 2>/dev/null || true
  "$on_end"
}
trap ended INT TERM HUP

# --- one at a time ---

# The configmap `deploy-under-way` says who deploys: nobody, "unfinished" where a deploy ended
# half-way, or since when and who.
turn_is=free turn_after="" me=""

who() {
  local name
  if [ -n "${GITHUB_RUN_ID:-}" ]; then name="workflow $GITHUB_RUN_ID"; else
    name="$(id -un)@$(uname -n) $$"
  fi
  tr -cd 'A-Za-z0-9@._ -' <<<"$(date +%s) $name"
}

is_over() { # HOLDER: whether who took the turn deploys no more
  [ "$take_over" = 0 ] || return 0
  # Of the workflow's deploys to an environment GitHub lets one run at a time.
  [[ $1 != *" workflow "* || $me != *" workflow "* ]] || return 0
  [[ $1 =~ ^[0-9]+\  ]] && [ $(($(date +%s) - ${1%% *})) -gt "$turn_s_max" ]
}

hand_on() { # FROM TO: who deploys, unless it is no longer FROM
  local path='"path":"/data/holder","value"'
  change patch configmap "$turn" --type=json --patch \
    "[{\"op\":\"test\",$path:\"$1\"},{\"op\":\"replace\",$path:\"$2\"}]" >/dev/null
}

take_turn() {
  local found
  me=$(who)
  if change create configmap "$turn" --from-literal "holder=$me" >/dev/null 2>"$work/turn"; then
    hold_turn
    return
  fi
  found=$(ask get configmap "$turn" --output 'jsonpath={.data.holder}') ||
    fail "whether another deploy is under way is not known: $(tail -n 1 "$work/turn");" \
      "nothing was changed"
  case $found in
    "") ;;
    unfinished) turn_is=unfinished ;;
    *)
      is_over "$found" ||
        refuse "a deploy is under way, of ${found#* } since" \
          "$(date -u -d "@${found%% *}" +%FT%TZ 2>/dev/null || echo 'who knows when');" \
          "if it is dead, --take-over"
      turn_is=unfinished
      ;;
  esac
  hand_on "$found" "$me" || fail "another deploy began at this moment; nothing was changed"
  turn_after=$turn_is
  [ "$turn_is" != free ] || turn_after=""
  hold_turn
}

settle() { # what was left half-way is all there and serves: from now on it is what is put back
  local found
  found=$(ask get configmap "$turn" --ignore-not-found --output 'jsonpath={.data.holder}') ||
    fail "whether the deploy before was left half-way is not known"
  [ "$found" != unfinished ] || hand_on unfinished "" ||
    fail "that the deploy before is whole is not noted: the same again does it"
}

hold_turn() {
  [ "$dry" = 1 ] || trap 'give_turn' EXIT
}

give_turn() {
  hand_on "$me" "$turn_after" ||
    say "that this deploy ended is not noted: the next one wants --take-over"
}
