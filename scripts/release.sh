#!/usr/bin/env bash
# Makes a version of what main holds; --help says how.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'END'
scripts/release.sh [--dry-run] VERSION

Makes VERSION, three numbers such as 1.4.0, of what main holds: CHANGELOG.md's lines under
Unreleased get its number and today's date, the files that name the version name the new one,
and that is one commit with an annotated tag vVERSION. Nothing is pushed; the command that does
is printed.

  --dry-run   print the change that would be committed, and make nothing
  --help      this

Refused: a tree with changes, another branch than main, a main behind origin/main, nothing under
Unreleased, a version that is not after the last tag or is before pyproject.toml's. What fails on
the way leaves branch, tags and files as they were.

Exit codes: 0 done, 1 failed, 2 bad usage, 3 refused by a rule.
END
}

say() { echo "release: $*" >&2; }
bad_usage() { say "$*; scripts/release.sh --help says how" && exit 2; }
fail() { say "$*" && exit 1; }
refuse() { say "refused: $*" && exit 3; }

# The first of two versions in their order.
first_of() { printf '%s\n' "$@" | sort --version-sort | head -n 1; }

# The lines under Unreleased, up to the next version.
unreleased() { # FILE
  awk '/^## / { inside = ($2 == "Unreleased"); next } inside' "$1"
}

check_tree() {
  local branch
  [ -z "$(git status --porcelain)" ] || refuse "the tree must have no changes, has some"
  branch=$(git symbolic-ref --quiet --short HEAD || echo "none")
  [ "$branch" = main ] || refuse "the branch must be main, was $branch"
  git rev-parse --quiet --verify refs/remotes/origin/main >/dev/null || return 0
  git merge-base --is-ancestor refs/remotes/origin/main HEAD ||
    refuse "main must hold what origin/main holds, does not"
}

check_version() {
  local newest
  ! git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null ||
    refuse "the tag v$version must be new, is there"
  newest=$(git tag --list 'v[0-9]*' --sort=-version:refname | head -n 1)
  [ -z "$newest" ] || [ "$(first_of "$version" "${newest#v}")" != "$version" ] ||
    refuse "the version must be after ${newest#v}, was $version"
  # The first version may be the one that the sources already name.
  [ "$(first_of "$version" "$old")" = "$old" ] ||
    refuse "the version must not be before $old of pyproject.toml, was $version"
}

check_changelog() {
  [ "$(grep -c '^## Unreleased$' CHANGELOG.md)" = 1 ] ||
    refuse "CHANGELOG.md must have one section Unreleased"
  unreleased CHANGELOG.md | grep -q '^- ' ||
    refuse "CHANGELOG.md must have a line under Unreleased, has none"
}

# What names the version beside the change log, each by the words around it: a number alone may
# be another thing's.
write_version() { # in the tree that is the current folder
  local escaped=${old//./\\.} file
  sed -i "s/^version = \"$escaped\"\$/version = \"$version\"/" pyproject.toml
  for file in docker/*/Dockerfile serving/*/Dockerfile; do
    if [ -f "$file" ]; then sed -i "s/^ARG VERSION=$escaped\$/ARG VERSION=$version/" "$file"; fi
  done
  for file in components/image.py pipelines/compiled/*.yaml docs/pipelines.md; do
    if [ -f "$file" ]; then
      sed -i -E "s/(hft-crypto-bot:)$escaped(\$|[^0-9.])/\1$version\2/" "$file"
    fi
  done
  sed -i "s/^## Unreleased\$/## Unreleased\n\n## $version - $(date -u +%F)/" CHANGELOG.md
  grep -q "^version = \"$version\"\$" pyproject.toml ||
    fail "pyproject.toml does not name $version; nothing was changed"
}

forget() { # what was made beside the tree
  git worktree remove --force "$work/tree" 2>/dev/null || git worktree prune
  rm -rf "$work"
}

# Both refs in one transaction: a tag without its commit on main, or the reverse, cannot be.
publish() { # COMMIT
  local notes tag
  notes=$(unreleased CHANGELOG.md)
  tag=$(printf 'object %s\ntype commit\ntag v%s\ntagger %s\n\nVersion %s\n\n%s\n' "$1" "$version" \
    "$(git var GIT_COMMITTER_IDENT)" "$version" "$notes" | git mktag) || return 1
  printf 'start\nupdate refs/heads/main %s %s\ncreate refs/tags/v%s %s\nprepare\ncommit\n' \
    "$1" "$start" "$version" "$tag" | git update-ref --stdin -m "release $version" >/dev/null
}

dry=0 version=""
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage && exit ;;
    --dry-run) dry=1 ;;
    -*) bad_usage "no option is called $1" ;;
    *)
      [ -z "$version" ] || bad_usage "there must be one version, were $version and $1"
      version=$1
      ;;
  esac
  shift
done
[[ $version =~ ^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$ ]] ||
  bad_usage "VERSION must be three numbers such as 1.4.0, was '$version'"

old=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
check_tree
check_version
check_changelog

start=$(git rev-parse HEAD)
work=$(mktemp -d)
trap forget EXIT
# All is made in a tree beside this one, which changes only when all is there.
git -c core.hooksPath=/dev/null worktree add --quiet --detach "$work/tree" HEAD
cd "$work/tree"
write_version
cd "$OLDPWD"
if [ "$dry" = 1 ]; then
  git -C "$work/tree" --no-pager diff
  say "would commit this as \"Release $version\" and tag it v$version; nothing was changed"
  exit
fi
git -C "$work/tree" commit --quiet --no-verify --all --message "Release $version" ||
  fail "the commit was not made; nothing was changed"
publish "$(git -C "$work/tree" rev-parse HEAD)" ||
  fail "main and v$version were not written; nothing was changed"
# The branch has moved under the files, which had no changes: they follow.
git reset --quiet --hard ||
  fail "main and v$version are made, the files here are older: git reset --hard"
say "main and v$version are made here; to publish them: git push --atomic origin main v$version"
