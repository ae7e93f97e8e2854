#!/usr/bin/env bash
# Makes .venv hold a locked set: scripts/setup.sh research|dev. A second run finds its stamp and costs nothing.
#
# pip alone does it, whatever its configuration says: every file is checked against the lock's hashes, so it does not
# matter where pip finds one. Nothing is resolved (--no-deps): the lock is whole, and `pip check` proves it.
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly set_name=${1:?usage: scripts/setup.sh research|dev|bench}
readonly lock=requirements/$set_name.lock
readonly venv=.venv

fail() {
  echo "set-up: $*" >&2
  exit 1
}

# The first of the usual names that is a Python 3.11: a name may exist and be another version, or none at all.
find_python() {
  local name
  for name in ${PYTHON:+"$PYTHON"} python3.11 python3 python; do
    if "$name" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; then
      command -v "$name"
      return
    fi
  done
  fail "Python 3.11 is needed and none was found (on Debian 12: apt-get install python3.11 python3.11-venv)"
}

sha256() { "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'; }

# A virtual environment holds the absolute path of its folder and of its interpreter: both belong to the stamp.
stamp_of() { { echo "$PWD" "$("$python" -VV)" && cat "$@"; } | sha256; }

holds() { [ "$(cat "$venv/stamp-$1" 2>/dev/null)" = "$2" ]; }

# Variables that would send the packages elsewhere or change what is installed; where pip looks stays the user's affair.
pip() {
  env -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT -u PIP_REQUIREMENT -u PIP_CONSTRAINT -u PIP_NO_BINARY \
    -u PIP_ONLY_BINARY -u PIP_PYTHON -u PYTHONPATH -u PYTHONHOME \
    PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off \
    "$venv/bin/python" -m pip "$@"
}

locked() { pip install --quiet --require-hashes --no-deps --no-compile --no-build-isolation -r "$1"; }

# One package ships as source only. What builds it is installed first, at the lock's versions and hashes.
install_build_tools() {
  local tools
  tools=$(mktemp)
  awk '/^(setuptools|wheel|packaging)==/ { on = 1 } on { print } on && !/\\$/ { on = 0 }' "$lock" >"$tools"
  locked "$tools"
  rm -f "$tools"
}

make_venv() {
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python has no venv module (on Debian 12: apt-get install python3.11-venv)"
  "$python" -m venv --clear "$venv"
}

install_set() {
  echo "set-up: installing the $set_name set ($(grep -c '==' "$lock") packages) into $venv"
  # A folder that holds no whole set is made afresh: it may be half an installation, or another lock's.
  holds research "$(stamp_of requirements/research.lock)" || make_venv
  install_build_tools
  locked "$lock"
  pip check >/dev/null || fail "the installed packages do not fit together: $(pip check | head -n 3)"
  # The bench set holds the dev set and that the research set, at the same versions (tests/test_locks.py).
  local held
  for held in research dev bench; do
    stamp_of "requirements/$held.lock" >"$venv/stamp-$held"
    [ "$held" != "$set_name" ] || break
  done
}

# The project's own packages stay where they are: a .pth file points here, and .venv/bin/hft is the command.
install_project() {
  pip install --quiet --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
  stamp_of pyproject.toml >"$venv/stamp-project"
}

[ -f "$lock" ] || fail "the set is research, dev or bench, was '$set_name'"
# What it leads to is another tree's, and would be emptied.
[ ! -L "$venv" ] || fail "$venv must be a folder of this tree, is a link to $(readlink "$venv"); remove the link"
python=$(find_python)
mkdir -p build
if command -v flock >/dev/null; then
  # Two verbs started at once must not install over one another.
  exec 9>build/setup.lock
  flock 9
fi
holds "$set_name" "$(stamp_of "$lock")" || install_set
holds project "$(stamp_of pyproject.toml)" || install_project
