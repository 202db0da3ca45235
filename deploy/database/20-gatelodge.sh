#!/bin/sh
# The gateway's own user: it reads sessions and users, and can do nothing else.
set -eu
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" \
    --set password="$(cat /run/secrets/gatelodge_password)" <<'SQL'
CREATE ROLE gatelodge LOGIN PASSWORD :'password' CONNECTION LIMIT 20;
GRANT SELECT ON sessions, users TO gatelodge;
SQL
