-- What belongs to a cluster and not to a database: roles, memberships, tablespaces, settings, and the database "shop" itself.
-- A section begins with "--- name [from MAJOR] [until MAJOR]" and runs as one transaction, or, if it says "each", one
-- statement at a time, split at lines that end with a semicolon. {tablespace} is an empty directory.

--- roles
CREATE ROLE shop_owner LOGIN CREATEDB PASSWORD 'owner''s \secret\';
CREATE ROLE shop_reader NOLOGIN;
CREATE ROLE shop_writer LOGIN CONNECTION LIMIT 7 VALID UNTIL '2031-05-06 07:08:09+00' PASSWORD 'hunter2';
CREATE ROLE shop_admin CREATEROLE REPLICATION BYPASSRLS;
CREATE ROLE shop_plain NOINHERIT;
CREATE ROLE shop_infinite LOGIN VALID UNTIL 'infinity';
CREATE ROLE "Odd ""role"" ö" LOGIN;
CREATE ROLE "role with.dot and 'quote'" LOGIN;
COMMENT ON ROLE shop_owner IS 'owns the shop; it''s "quoted" ö\n';
COMMENT ON ROLE "Odd ""role"" ö" IS 'odd';
GRANT shop_reader TO shop_writer;
GRANT shop_writer TO shop_admin WITH ADMIN OPTION;
GRANT shop_reader TO "Odd ""role"" ö";
GRANT pg_monitor TO shop_admin;
ALTER ROLE shop_owner SET work_mem = '7MB';
ALTER ROLE shop_owner SET search_path = "$user", public, "odd schema";
ALTER ROLE shop_writer SET "shop.greeting" = 'it''s \ "here"';
ALTER ROLE "Odd ""role"" ö" SET statement_timeout = '17min';

--- passwords as verifiers
SET password_encryption = 'scram-sha-256';
CREATE ROLE shop_scram LOGIN PASSWORD 'pencil';
SET password_encryption = 'md5';
CREATE ROLE shop_md5 LOGIN PASSWORD 'pencil';

--- membership options from 16
GRANT shop_reader TO shop_plain WITH INHERIT FALSE, SET FALSE;
GRANT shop_reader TO shop_admin WITH ADMIN TRUE, INHERIT TRUE, SET FALSE;
GRANT shop_reader TO shop_infinite GRANTED BY shop_admin;

--- parameters from 15
GRANT SET ON PARAMETER log_min_duration_statement TO shop_writer;
GRANT ALTER SYSTEM ON PARAMETER work_mem TO shop_admin WITH GRANT OPTION;

--- tablespaces each
CREATE TABLESPACE shop_space OWNER shop_owner LOCATION '{tablespace}';
ALTER TABLESPACE shop_space SET (random_page_cost = 1.5, seq_page_cost = 1.25);
GRANT CREATE ON TABLESPACE shop_space TO shop_writer;
COMMENT ON TABLESPACE shop_space IS 'a tablespace';

--- databases each
CREATE DATABASE shop OWNER shop_owner TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' CONNECTION LIMIT 42;
COMMENT ON DATABASE shop IS 'the shop: it''s "quoted" ö';
REVOKE ALL ON DATABASE shop FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE shop TO shop_reader;
GRANT CREATE ON DATABASE shop TO shop_writer WITH GRANT OPTION;
ALTER DATABASE shop SET timezone = 'Europe/Berlin';
ALTER DATABASE shop SET search_path = shop, public, "odd schema";
ALTER DATABASE shop SET "shop.note" = 'it''s \ "noted"';
ALTER ROLE shop_writer IN DATABASE shop SET work_mem = '9MB';
ALTER ROLE "Odd ""role"" ö" IN DATABASE shop SET default_transaction_read_only = on;
