#!/bin/sh
# Prints users.acl with the hash of each user's password, taken from REDIS_PASSWORD_GATEWAY and its like.
# The passwords themselves are written nowhere. Needs a POSIX shell and sha256sum: any Redis or Valkey image has both.
set -eu
while IFS= read -r line; do
  name=${line#user }
  name=${name%% *}
  if [ -n "$line" ] && [ "$name" != default ]; then
    variable=REDIS_PASSWORD_$(printf %s "$name" | tr a-z- A-Z_)
    eval "password=\${$variable:-}"
    if [ "${#password}" -lt 16 ]; then
      echo "$variable has to hold at least 16 characters" >&2
      exit 1
    fi
    hash=$(printf %s "$password" | sha256sum)
    line="user $name on #${hash%% *} ${line#"user $name on "}"
  fi
  printf '%s\n' "$line"
done < "$(dirname "$0")/users.acl"
