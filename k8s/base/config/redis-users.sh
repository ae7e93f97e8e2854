#!/bin/sh
# Who may do what in Redis: the rules of users.rules with the hashes of the passwords put in.
#
#   redis-users.sh RULES PASSWORDS OUT
#
# PASSWORDS is a folder with a file a user. Redis is given hashes alone, in a file that only it reads.
set -eu
rules=$1 passwords=$2 out=$3
umask 077

joined=$(awk '/^#/ { next } /^user / && n++ { print "" } { $1 = $1; printf "%s ", $0 } END { print "" }' "$rules")
for user in services operator viewer; do
  password=$(cat "$passwords/$user")
  if [ "${#password}" -lt 32 ]; then
    echo "redis-users: the password of $user must be at least 32 characters, had ${#password}" >&2
    exit 1
  fi
  hash=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
  joined=$(printf '%s\n' "$joined" | sed "s/@$user@/#$hash/")
done
printf '%s\n' "$joined" >"$out.new"
mv "$out.new" "$out"
