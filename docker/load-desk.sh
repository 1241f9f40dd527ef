#!/bin/sh
# Run once by the postgres image, on an empty database.
set -eu
psql -v ON_ERROR_STOP=1 -U postgres -d "$POSTGRES_DB" -v reader_password="$READER_PASSWORD" -f /demo-data.sql
