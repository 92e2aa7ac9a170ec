#!/bin/sh
# Run once by the PostgreSQL image on an empty volume: a database each for COPS and Dagster, and logins that have
# no more rights than what runs under them needs. The tables' own rights follow with roles.sql, after migrations.
#
#   cops_owner      migrates: the only one that owns a table or may touch a guard
#   cops_daemon     daemon and operators' webserver (cops_writer)
#   cops_viewer     viewers' webserver, reports (cops_reader)
#   cops_finance    closes months (cops_closer)
#   dagster         owns Dagster's storage, which its processes migrate
#   dagster_viewer  reads it
set -eu
: "${COPS_OWNER_PASSWORD:?}" "${COPS_DAEMON_PASSWORD:?}" "${COPS_VIEWER_PASSWORD:?}" "${COPS_FINANCE_PASSWORD:?}"
: "${DAGSTER_DB_PASSWORD:?}" "${DAGSTER_VIEWER_PASSWORD:?}"
psql -v ON_ERROR_STOP=1 -X -q -U postgres -d postgres <<'SQL'
\getenv owner COPS_OWNER_PASSWORD
\getenv daemon COPS_DAEMON_PASSWORD
\getenv viewer COPS_VIEWER_PASSWORD
\getenv finance COPS_FINANCE_PASSWORD
\getenv dagster DAGSTER_DB_PASSWORD
\getenv dagster_viewer DAGSTER_VIEWER_PASSWORD

CREATE ROLE cops_reader NOLOGIN;
CREATE ROLE cops_writer NOLOGIN;
CREATE ROLE cops_closer NOLOGIN IN ROLE cops_writer;

CREATE ROLE cops_owner LOGIN PASSWORD :'owner';
CREATE ROLE cops_daemon LOGIN PASSWORD :'daemon' IN ROLE cops_writer;
CREATE ROLE cops_viewer LOGIN PASSWORD :'viewer' IN ROLE cops_reader;
CREATE ROLE cops_finance LOGIN PASSWORD :'finance' IN ROLE cops_closer;
CREATE DATABASE cops OWNER cops_owner;
REVOKE ALL ON DATABASE cops FROM PUBLIC;
GRANT CONNECT ON DATABASE cops TO cops_reader, cops_writer;

CREATE ROLE dagster LOGIN PASSWORD :'dagster';
CREATE ROLE dagster_viewer LOGIN PASSWORD :'dagster_viewer';
CREATE DATABASE dagster OWNER dagster;
REVOKE ALL ON DATABASE dagster FROM PUBLIC;
GRANT CONNECT ON DATABASE dagster TO dagster_viewer;

\connect cops
REVOKE ALL ON SCHEMA public FROM PUBLIC;
\connect dagster
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO dagster_viewer;
ALTER DEFAULT PRIVILEGES FOR ROLE dagster IN SCHEMA public GRANT SELECT ON TABLES TO dagster_viewer;
SQL
