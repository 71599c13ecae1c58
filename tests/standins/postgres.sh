#!/bin/sh
# What the postgres image does at start, as far as docker-compose.yml uses it: the first start makes
# the database of POSTGRES_DB for POSTGRES_USER with the password in POSTGRES_PASSWORD_FILE.
set -eu
bin=$(echo /usr/lib/postgresql/*/bin)
PATH=$bin:$PATH

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" \
        --auth-local=trust --auth-host=scram-sha-256
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl start --wait --options="-c listen_addresses=''"
    createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl stop --wait
fi
exec postgres -c listen_addresses='*'
