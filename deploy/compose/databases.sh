#!/bin/sh
# Run once by the PostgreSQL image on an empty volume: a database and a user each for COPS and Dagster.
set -eu
psql -v ON_ERROR_STOP=1 -U postgres \
  -v cops="$COPS_DB_PASSWORD" -v dagster="$DAGSTER_DB_PASSWORD" <<'SQL'
CREATE USER cops PASSWORD :'cops';
CREATE DATABASE cops OWNER cops;
CREATE USER dagster PASSWORD :'dagster';
CREATE DATABASE dagster OWNER dagster;
SQL
