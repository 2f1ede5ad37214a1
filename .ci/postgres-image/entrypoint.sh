#!/bin/sh
# Behaves like the official image's entrypoint in what the course uses: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB,
# PGDATA, options of the server as arguments, and the refusals that learners meet. What it does not know it refuses.
set -eu

say() { printf '%s\n' "$@" >&2; }

[ $# -gt 0 ] || set -- postgres
case "$1" in -*) set -- postgres "$@" ;; esac
if [ "$1" != postgres ]; then exec "$@"; fi
case " $* " in *" --version "* | *" -V "* | *" --help "* | *" -? "*) exec "$@" ;; esac

unknown=$(env | grep -oE '^POSTGRES_[A-Z_]+=' | grep -vE '^POSTGRES_(USER|PASSWORD|DB)=$' | tr -d '=' | tr '\n' ' ' || true)
[ -z "$unknown" ] || { say "Error: this stand-in for the official image does not know: $unknown"; exit 64; }
[ -z "$(ls -A /docker-entrypoint-initdb.d)" ] || { say "Error: this stand-in runs no scripts of /docker-entrypoint-initdb.d"; exit 64; }

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /run/postgresql
    chmod 700 "$PGDATA"
    chmod 3775 /run/postgresql
    chown -R postgres "$PGDATA" /run/postgresql
    # busybox's su replaces itself: the server becomes process 1 and gets Docker's signals.
    # shellcheck disable=SC2016 # for the inner shell
    exec su postgres -s /bin/sh -c 'exec "$0" "$@"' -- "$0" "$@"
fi

if [ -s "$PGDATA/PG_VERSION" ]; then
    printf '\n%s\n\n' 'PostgreSQL Database directory appears to contain a database; Skipping initialization'
    exec "$@"
fi

user=${POSTGRES_USER:-postgres}
db=${POSTGRES_DB:-$user}
if [ -z "${POSTGRES_PASSWORD:-}" ]; then
    say 'Error: Database is uninitialized and superuser password is not specified.' \
        '       Set POSTGRES_PASSWORD, for example with "-e POSTGRES_PASSWORD=password" on "docker run".'
    exit 1
fi

# From 18 on: files of an older server, or a volume at the old place, would else be passed over in silence.
if [ "$PG_MAJOR" -ge 18 ] && [ "$PGDATA" = "/var/lib/postgresql/$PG_MAJOR/docker" ]; then
    old=
    for folder in /var/lib/postgresql /var/lib/postgresql/data /var/lib/postgresql/*/docker; do
        [ ! -s "$folder/PG_VERSION" ] || old="$old $folder"
    done
    if [ -z "$old" ] && grep -q ' /var/lib/postgresql/data ' /proc/self/mountinfo; then
        old=' /var/lib/postgresql/data (unused mount/volume)'
    fi
    if [ -n "$old" ]; then
        say 'Error: in 18+, these Docker images keep their data in a folder named after the major version.' \
            '       Counter to that, there appears to be PostgreSQL data in:' "        $old" \
            '       Put a single mount at /var/lib/postgresql.'
        exit 1
    fi
fi

# The wheel's server has its socket in /tmp, Debian's in /var/run/postgresql: with both every client finds it.
printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password
initdb --username="$user" --pwfile=/tmp/password \
    --set listen_addresses='*' --set unix_socket_directories='/var/run/postgresql, /tmp'
rm /tmp/password
printf '\n%s\n' 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"

# A temporary server that nobody can reach from outside, to make the database.
pg_ctl -w -o "-c listen_addresses=''" start
if [ "$db" != postgres ]; then
    echo 'CREATE DATABASE :"db"' | psql -X -v ON_ERROR_STOP=1 -v db="$db" -U "$user" -d postgres
fi
pg_ctl -w -m fast stop

printf '\n%s\n\n' 'PostgreSQL init process complete; ready for start up.'
exec "$@"
