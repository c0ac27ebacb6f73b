#!/bin/bash
# Runs once, when PostgreSQL's volume is empty. Every service gets a database of its own, the role that owns it (used by
# its migrations only) and the role its processes log in as, which the migrations grant what it needs.
set -euo pipefail

create_database() { # service, variable with the owner's password, variable with the application's password
    psql -X -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d postgres <<SQL
\\getenv owner_password $2
\\getenv app_password $3
CREATE ROLE $1_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE $1_app LOGIN PASSWORD :'app_password';
CREATE DATABASE $1 OWNER $1_owner;
REVOKE ALL ON DATABASE $1 FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE $1 TO $1_app;
SQL
}

create_database loyalty LOYALTY_OWNER_PASSWORD LOYALTY_APP_PASSWORD
create_database customer_status CUSTOMER_STATUS_OWNER_PASSWORD CUSTOMER_STATUS_APP_PASSWORD
