#!/usr/bin/env bash
# Puts changed locks on a branch, where somebody looks at them: scripts/ci/propose-locks.sh
#
# From main the branch is dependencies/locks, made anew each time, with a pull request where it has
# none open; from another branch it is that one. The checks are started on it: a push by a
# workflow's own token starts none. Needs `gh` (GH names another), GH_TOKEN, GITHUB_REF_NAME and
# GITHUB_REPOSITORY.
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
readonly gh=${GH:-gh} from=${GITHUB_REF_NAME:?} repository=${GITHUB_REPOSITORY:?}

# Versions that moved, a line each: "- NAME OLD to NEW (LOCK...)".
moved() {
  python3 - "$@" <<'END'
import re, subprocess, sys

PIN = re.compile(r"^([a-z0-9][a-z0-9-]*)==(\S+)", re.MULTILINE)
found = {}
for lock in sys.argv[1:]:
    command = ("git", "show", f"HEAD:{lock}")
    old = subprocess.run(command, capture_output=True, text=True, check=True)
    before, after = dict(PIN.findall(old.stdout)), dict(PIN.findall(open(lock).read()))
    for name in sorted({*before, *after}):
        pair = before.get(name, "nothing"), after.get(name, "nothing")
        if pair[0] != pair[1]:
            found.setdefault((name, *pair), []).append(lock.split("/")[1].removesuffix(".lock"))
for (name, old, new), locks in sorted(found.items()):
    print(f"- {name} {old} to {new} ({', '.join(locks)})")
END
}

mapfile -t changed < <(git diff --name-only -- 'requirements/*.lock')
if [ ${#changed[@]} -eq 0 ]; then
  echo "locks: nothing is new"
  exit
fi
branch=$from
[ "$from" != main ] || branch=dependencies/locks
body=$(moved "${changed[@]}")
# Nothing else that may have come along with the locks.
git add -- "${changed[@]}"
git -c user.name="github-actions[bot]" \
  -c user.email="41898282+github-actions[bot]@users.noreply.github.com" \
  commit --quiet --message "Resolve the locks" --message "$body"
force=()
# That branch is this script's own, and holds one commit on the newest main.
[ "$from" != main ] || force=(--force)
git -c credential.helper= -c credential.helper="!$gh auth git-credential" \
  push --quiet "${force[@]}" origin "HEAD:refs/heads/$branch"
open=$("$gh" pr list --repo "$repository" --head "$branch" --state open --json number)
if [ "$open" = "[]" ]; then
  "$gh" pr create --repo "$repository" --base main --head "$branch" \
    --title "Resolve the locks" --body-file - <<<"$body"
fi
for workflow in ci-cd.yml feature-test.yml; do
  "$gh" workflow run "$workflow" --repo "$repository" --ref "$branch"
done
echo "locks: ${#changed[@]} changed, on $branch"
