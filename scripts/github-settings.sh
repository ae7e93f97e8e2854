#!/usr/bin/env bash
# Applies the repository's settings on GitHub; --help says how.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly settings=.github/settings

usage() {
  cat <<'END'
scripts/github-settings.sh [--dry-run] [--repo OWNER/NAME] [--reviewers WHO[,WHO...]]

Makes GitHub's settings those of .github/settings: what a workflow's token may do without asking,
the protection of main, and the environments. To apply them again changes nothing.

  branches/BRANCH.json     required status checks, reviews, who may push
  environments/ENV.json    staging without a question, production after an approval; both from
                           protected branches alone
  actions.json             what the token of a workflow may do. That workflows may open pull
                           requests is for the one that updates the locks. They may approve them
                           too, GitHub has one switch for both; main still takes nothing that an
                           administrator did not merge, where the owner is an organization

  --repo OWNER/NAME        (the default is $GITHUB_REPOSITORY)
  --reviewers WHO,...      who approves production, not who started it: users, and teams as
                           ORGANIZATION/TEAM (the default is the owner)
  --dry-run                print what would be sent, and send nothing
  --help                   this

Needs `gh`, logged in as an administrator of the repository, or with GH_TOKEN set to a token that
may administer it. Environment: GH (gh). Only an organization's repository can restrict who pushes;
elsewhere that part is left out, and that is said.
Exit codes: 0 done, 1 failed, 2 bad usage.
END
}

say() { echo "github-settings: $*" >&2; }
bad_usage() { say "$*; scripts/github-settings.sh --help says how" && exit 2; }
fail() { say "$*" && exit 1; }

ask() { "${GH:-gh}" api --header "X-GitHub-Api-Version: 2022-11-28" "$@"; }

# A field of the JSON on stdin, by the names on the way to it.
field() {
  python3 -I -S -c '
import functools, json, sys
print(functools.reduce(lambda known, name: known[name], sys.argv[1:], json.load(sys.stdin)))' "$@"
}

# Who a reviewer is to GitHub: "User 7" or "Team 8".
reviewer() { # NAME or ORGANIZATION/TEAM
  local answer kind=Team
  if [[ $1 == */* ]]; then
    answer=$(ask "orgs/${1%/*}/teams/${1#*/}") || return 1
  else
    answer=$(ask "users/$1") || return 1
    kind=$(field type <<<"$answer")
    [ "$kind" = User ] || {
      say "a reviewer must be a user or a team, $1 is: $kind"
      return 1
    }
  fi
  echo "$kind $(field id <<<"$answer")"
}

# What is sent of a file: with the reviewers in their place, and no restriction that the owner of
# the repository cannot have.
body() { # FILE
  python3 -I -S - "$1" "$owner_type" "$found" <<'END'
import json, sys

name, owner_type, found = sys.argv[1:]
known = json.load(open(name, encoding="utf-8"))
if known.get("reviewers") == "REVIEWERS" and found:
    pairs = [line.split() for line in found.splitlines()]
    known["reviewers"] = [{"type": kind, "id": int(number)} for kind, number in pairs]
if "restrictions" in known and owner_type == "User":
    known["restrictions"] = None
json.dump(known, sys.stdout, indent=2)
END
}

applied=() left=()

apply() { # PATH FILE
  local sent
  sent=$(body "$2") || return 1
  if [ "$dry" = 1 ]; then
    printf 'PUT %s\n%s\n' "$1" "$sent"
  else
    ask --method PUT "$1" --input - <<<"$sent" >/dev/null || return 1
  fi
}

all() { # every file, in an order in which an environment finds its branch protected
  local file name
  echo "repos/$repo/actions/permissions/workflow $settings/actions.json"
  for file in "$settings"/branches/*.json; do
    name=$(basename "$file" .json)
    echo "repos/$repo/branches/$name/protection $file"
  done
  for file in "$settings"/environments/*.json; do
    echo "repos/$repo/environments/$(basename "$file" .json) $file"
  done
}

look() { # whose repository it is and who reviews: all is known before anything is changed
  local answer name
  answer=$(ask "repos/$repo") || fail "$repo cannot be read; nothing was changed"
  [ "$(field permissions admin <<<"$answer")" = True ] ||
    fail "$repo must be administered by this token, is not; nothing was changed"
  owner_type=$(field owner type <<<"$answer")
  [ "$owner_type" != User ] ||
    say "$repo is a user's: who may push to a branch cannot be restricted, and is not"
  for name in ${reviewers//,/ }; do
    found+=$(reviewer "$name")$'\n' || fail "$name is no reviewer; nothing was changed"
  done
}

dry=0 repo=${GITHUB_REPOSITORY:-} reviewers="" owner_type="" found=""
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage && exit ;;
    --dry-run) dry=1 ;;
    --repo | --reviewers)
      [ -n "${2:-}" ] || bad_usage "$1 must have a value"
      case $1 in --repo) repo=$2 ;; --reviewers) reviewers=$2 ;; esac
      shift
      ;;
    *) bad_usage "there is no $1" ;;
  esac
  shift
done
readonly word='[A-Za-z0-9._-]+'
[[ $repo =~ ^$word/$word$ ]] || bad_usage "--repo must be OWNER/NAME, was '$repo'"
reviewers=${reviewers:-${repo%/*}}
[[ $reviewers =~ ^$word(/$word)?(,$word(/$word)?)*$ ]] ||
  bad_usage "--reviewers must be names, commas between, was '$reviewers'"

if [ "$dry" = 1 ]; then
  echo "# production is approved by: $reviewers, whose numbers are asked for first"
else
  look
fi
while read -r path file; do
  if [ ${#left[@]} -eq 0 ] && apply "$path" "$file"; then
    applied+=("$file")
  else
    left+=("$file")
  fi
done < <(all)
if [ ${#left[@]} -gt 0 ]; then
  say "applied: ${applied[*]:-none}"
  fail "not applied: ${left[*]}; when the first can be, run this again"
fi
[ "$dry" = 1 ] || say "applied to $repo: ${applied[*]}"
