-- A database with one of every kind of object that a server of the version can hold; see logical_globals.sql for the
-- form. Owners, grants, comments and odd names are spread over all of it.

--- schemas
CREATE SCHEMA shop AUTHORIZATION shop_owner;
CREATE SCHEMA ext;
CREATE SCHEMA "odd schema" AUTHORIZATION "Odd ""role"" ö";
CREATE SCHEMA "dot.ted ""quoted"" ö";
CREATE SCHEMA empty_schema;
GRANT USAGE ON SCHEMA shop TO shop_reader, shop_plain WITH GRANT OPTION;
GRANT USAGE, CREATE ON SCHEMA shop TO shop_writer;
GRANT USAGE ON SCHEMA "odd schema" TO PUBLIC;
COMMENT ON SCHEMA shop IS 'schema comment with a
line break, a tab	and a \ backslash';
COMMENT ON SCHEMA "odd schema" IS 'odd';

--- default privileges
ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner IN SCHEMA shop GRANT SELECT ON TABLES TO shop_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner IN SCHEMA shop GRANT USAGE ON SEQUENCES TO shop_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE shop_writer GRANT USAGE ON TYPES TO shop_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner GRANT USAGE ON SCHEMAS TO shop_reader;

--- default privileges of large objects from 18
ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner GRANT SELECT ON LARGE OBJECTS TO shop_reader;

--- extensions
CREATE EXTENSION hstore SCHEMA ext;
CREATE EXTENSION citext SCHEMA ext;
CREATE EXTENSION btree_gist SCHEMA ext;
CREATE EXTENSION pgcrypto SCHEMA ext;
CREATE EXTENSION postgres_fdw SCHEMA ext;
COMMENT ON EXTENSION hstore IS 'our own comment on an extension';
GRANT EXECUTE ON FUNCTION ext.gen_random_bytes(integer) TO shop_reader;
REVOKE EXECUTE ON FUNCTION ext.gen_random_bytes(integer) FROM PUBLIC;
CREATE TABLE shop.with_extension_types (id int PRIMARY KEY, tags ext.hstore, email ext.citext UNIQUE);
INSERT INTO shop.with_extension_types VALUES (1, 'a=>1, "b c"=>NULL', 'A@B.example'), (2, '', NULL);
CREATE INDEX ON shop.with_extension_types USING gist (tags);
CREATE TABLE shop.bookings (room int, during tsrange, EXCLUDE USING gist (room WITH =, during WITH &&) DEFERRABLE);
INSERT INTO shop.bookings VALUES (1, '[2026-01-01, 2026-01-02)'), (1, '[2026-01-02, 2026-01-03)'), (2, 'empty');
CREATE SERVER postgres_elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '/nowhere', dbname 'none', fetch_size '7');
CREATE USER MAPPING FOR shop_owner SERVER postgres_elsewhere OPTIONS (user 'them', password 'theirs''');
CREATE FOREIGN TABLE shop.far (id int OPTIONS (column_name 'ID') NOT NULL, note text COLLATE "C", CHECK (id > 0))
  SERVER postgres_elsewhere OPTIONS (schema_name 'public', table_name 'near');

--- extension dependency from 13
CREATE FUNCTION shop.depends_on_hstore() RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER FUNCTION shop.depends_on_hstore() DEPENDS ON EXTENSION hstore;

--- types
CREATE TYPE shop.mood AS ENUM ('sad', 'it''s ok', 'happy "ö"');
ALTER TYPE shop.mood OWNER TO shop_owner;
COMMENT ON TYPE shop.mood IS 'an enum';
CREATE TYPE shop.no_labels AS ENUM ();
CREATE TYPE shop.address AS (street text COLLATE "C", "Zip Code" varchar(10), floors int[]);
COMMENT ON COLUMN shop.address.street IS 'a column of a composite type';
CREATE TYPE shop.nothing AS ();
CREATE DOMAIN shop.positive AS numeric(12, 2) DEFAULT 1.5 CONSTRAINT is_positive CHECK (VALUE > 0);
ALTER DOMAIN shop.positive ADD CONSTRAINT below_limit CHECK (VALUE < 1000000) NOT VALID;
COMMENT ON CONSTRAINT is_positive ON DOMAIN shop.positive IS 'constraint of a domain';
CREATE DOMAIN shop.email AS text COLLATE "C" NOT NULL CHECK (VALUE ~ '^[^@]+@[^@]+$');
CREATE DOMAIN shop.emails AS text[] CHECK (array_length(VALUE, 1) < 5);
CREATE DOMAIN shop.of_domain AS shop.positive CHECK (VALUE <> 13);
GRANT USAGE ON DOMAIN shop.email TO shop_reader;
REVOKE USAGE ON TYPE shop.mood FROM PUBLIC;
CREATE TYPE shop.textrange AS RANGE (subtype = text, collation = "C");
CREATE FUNCTION shop.float8_diff(a float8, b float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT a - b';
CREATE TYPE shop.floatrange AS RANGE (subtype = float8, subtype_diff = shop.float8_diff);
CREATE TYPE shop.shell_only;
CREATE TYPE shop.label;
CREATE FUNCTION shop.label_in(cstring) RETURNS shop.label LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION shop.label_out(shop.label) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE shop.label (INPUT = shop.label_in, OUTPUT = shop.label_out, LIKE = text, CATEGORY = 'S', DELIMITER = ';');

--- multiranges from 14
CREATE TYPE shop.daterange_of_shop AS RANGE (subtype = date, multirange_type_name = shop.days_of_shop);
CREATE TABLE shop.multi (id int PRIMARY KEY, days shop.days_of_shop, numbers int4multirange);
INSERT INTO shop.multi VALUES (1, '{[2026-01-01,2026-01-05),[2026-02-01,2026-02-02)}', '{[1,3),[7,9)}'), (2, '{}', NULL);

--- collations
CREATE COLLATION shop.posix_like (locale = 'C');
CREATE COLLATION shop.german (provider = icu, locale = 'de-u-co-phonebk');
ALTER COLLATION shop.german OWNER TO shop_owner;
COMMENT ON COLLATION shop.german IS 'phone book';
CREATE CONVERSION shop.latin_to_utf FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
COMMENT ON CONVERSION shop.latin_to_utf IS 'conversion';

--- collations of later versions from 12
CREATE COLLATION shop.ignore_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE shop.ignoring_case (word text COLLATE shop.ignore_case PRIMARY KEY);
INSERT INTO shop.ignoring_case VALUES ('Äpfel'), ('birne');

--- collations with rules from 16
CREATE COLLATION shop.with_rules (provider = icu, locale = 'und', rules = '&a < g');

--- builtin collations from 17
CREATE COLLATION shop.built_in (provider = builtin, locale = 'C.UTF-8');

--- functions
CREATE FUNCTION shop.add_tax(net numeric, rate numeric DEFAULT 0.19, OUT gross numeric) LANGUAGE sql IMMUTABLE STRICT
  PARALLEL SAFE COST 7 AS $body$ SELECT net * (1 + rate) $body$;
ALTER FUNCTION shop.add_tax(numeric, numeric) OWNER TO shop_owner;
COMMENT ON FUNCTION shop.add_tax(numeric, numeric) IS 'adds tax';
CREATE FUNCTION shop."Odd fn ""x"" ö"(VARIADIC "odd arg" text[]) RETURNS SETOF record LANGUAGE plpgsql
  SECURITY DEFINER SET search_path = shop, pg_temp SET work_mem = '3MB' ROWS 17 AS $f$
BEGIN
  -- dollar quoting: $$ and 'quotes' and \backslash
  RETURN QUERY SELECT 1, 'a'::text;
END $f$;
CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE FUNCTION shop.note_statement() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION shop.returns_table(a int) RETURNS TABLE (b int, c text) LANGUAGE sql STABLE LEAKPROOF AS
  'SELECT a, ''x''::text';
CREATE FUNCTION shop.poly(anyelement, int DEFAULT 3) RETURNS anyelement LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION shop.window_like() RETURNS bigint LANGUAGE internal WINDOW IMMUTABLE AS 'window_row_number';
GRANT EXECUTE ON FUNCTION shop.returns_table(int) TO shop_reader WITH GRANT OPTION;
REVOKE ALL ON FUNCTION shop.touch() FROM PUBLIC;

--- procedures from 11
CREATE PROCEDURE shop.archive_orders(INOUT moved int, older date DEFAULT '2020-01-01') LANGUAGE plpgsql AS
  $$ BEGIN moved := 0; END $$;
ALTER PROCEDURE shop.archive_orders(int, date) OWNER TO shop_owner;
COMMENT ON PROCEDURE shop.archive_orders(int, date) IS 'a procedure';

--- function support from 12
CREATE FUNCTION shop.supported(int) RETURNS int LANGUAGE internal IMMUTABLE STRICT SUPPORT array_unnest_support AS 'int4abs';

--- functions with a body of SQL from 14
CREATE FUNCTION shop.body_return(a int, b int = 2) RETURNS int LANGUAGE sql IMMUTABLE RETURN a + b;
CREATE FUNCTION shop.body_atomic(a int) RETURNS SETOF int LANGUAGE sql
  BEGIN ATOMIC SELECT generate_series(1, a); SELECT a AS "odd ""name"""; END;
CREATE PROCEDURE shop.procedure_out(a int, OUT b int) LANGUAGE sql AS 'SELECT a + 1';

--- aggregates and operators
CREATE FUNCTION shop.sum_state(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT coalesce($1, 0) + coalesce($2, 0)';
CREATE AGGREGATE shop.my_sum(int) (SFUNC = shop.sum_state, STYPE = int, INITCOND = '0', PARALLEL = SAFE, COMBINEFUNC = shop.sum_state,
  MSFUNC = shop.sum_state, MINVFUNC = shop.sum_state, MSTYPE = int, MINITCOND = '7', SORTOP = <);
CREATE AGGREGATE shop.my_count(*) (SFUNC = int8inc, STYPE = int8, INITCOND = '0');
CREATE AGGREGATE shop.my_percentile(float8 ORDER BY anyelement) (SFUNC = ordered_set_transition, STYPE = internal,
  FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA);
COMMENT ON AGGREGATE shop.my_sum(int) IS 'an aggregate';
ALTER AGGREGATE shop.my_sum(int) OWNER TO shop_owner;
CREATE FUNCTION shop.same_sign(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT sign($1) = sign($2)';
CREATE FUNCTION shop.other_sign(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT sign($1) <> sign($2)';
CREATE OPERATOR shop.=~= (LEFTARG = int, RIGHTARG = int, PROCEDURE = shop.same_sign, COMMUTATOR = OPERATOR(shop.=~=),
  NEGATOR = OPERATOR(shop.<~>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES);
CREATE OPERATOR shop.<~> (LEFTARG = int, RIGHTARG = int, PROCEDURE = shop.other_sign, COMMUTATOR = OPERATOR(shop.<~>),
  NEGATOR = OPERATOR(shop.=~=));
CREATE OPERATOR shop.%%> (RIGHTARG = int, PROCEDURE = int4abs);
COMMENT ON OPERATOR shop.=~= (int, int) IS 'an operator';
ALTER OPERATOR shop.%%> (NONE, int) OWNER TO shop_owner;
CREATE FUNCTION shop.reverse_compare(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT btint4cmp($2, $1)';
CREATE OPERATOR FAMILY shop.reverse_family USING btree;
CREATE OPERATOR CLASS shop.reverse_ops FOR TYPE int USING btree FAMILY shop.reverse_family AS
  OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 shop.reverse_compare(int, int);
ALTER OPERATOR FAMILY shop.reverse_family USING btree ADD OPERATOR 1 > (int2, int2), FUNCTION 1 (int2, int2) btint2cmp(int2, int2);
COMMENT ON OPERATOR CLASS shop.reverse_ops USING btree IS 'an operator class';
COMMENT ON OPERATOR FAMILY shop.reverse_family USING btree IS 'an operator family';
CREATE FUNCTION shop.mood_to_int(shop.mood) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE CAST (shop.mood AS int) WITH FUNCTION shop.mood_to_int(shop.mood) AS ASSIGNMENT;
CREATE CAST (shop.label AS text) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (shop.address AS text) WITH INOUT;
COMMENT ON CAST (shop.mood AS int) IS 'a cast';
CREATE ACCESS METHOD shop_btree TYPE INDEX HANDLER bthandler;
COMMENT ON ACCESS METHOD shop_btree IS 'an access method';
CREATE FUNCTION shop.pl_handler() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE FUNCTION shop.pl_inline(internal) RETURNS void LANGUAGE c STRICT AS '$libdir/plpgsql', 'plpgsql_inline_handler';
CREATE FUNCTION shop.pl_validator(oid) RETURNS void LANGUAGE c STRICT AS '$libdir/plpgsql', 'plpgsql_validator';
CREATE TRUSTED PROCEDURAL LANGUAGE plshop HANDLER shop.pl_handler INLINE shop.pl_inline VALIDATOR shop.pl_validator;
ALTER LANGUAGE plshop OWNER TO shop_owner;
GRANT USAGE ON LANGUAGE plshop TO shop_writer;
REVOKE USAGE ON LANGUAGE plshop FROM PUBLIC;
COMMENT ON LANGUAGE plshop IS 'a language';
CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal), TO SQL WITH FUNCTION int4recv(internal));
CREATE FUNCTION shop.uses_transform(a int) RETURNS int LANGUAGE sql TRANSFORM FOR TYPE int AS 'SELECT a';

--- table access methods from 12
CREATE ACCESS METHOD shop_heap TYPE TABLE HANDLER heap_tableam_handler;
CREATE TABLE shop.in_shop_heap (id int) USING shop_heap;
INSERT INTO shop.in_shop_heap SELECT generate_series(1, 10);

--- text search
CREATE TEXT SEARCH DICTIONARY shop.simple_german (TEMPLATE = simple, STOPWORDS = german);
CREATE TEXT SEARCH PARSER shop.my_parser (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype,
  HEADLINE = prsd_headline);
CREATE TEXT SEARCH TEMPLATE shop.my_template (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH CONFIGURATION shop.my_search (PARSER = shop.my_parser);
ALTER TEXT SEARCH CONFIGURATION shop.my_search ADD MAPPING FOR asciiword, word WITH shop.simple_german, simple;
ALTER TEXT SEARCH CONFIGURATION shop.my_search ADD MAPPING FOR email WITH simple;
ALTER TEXT SEARCH CONFIGURATION shop.my_search OWNER TO shop_owner;
COMMENT ON TEXT SEARCH CONFIGURATION shop.my_search IS 'a configuration';
COMMENT ON TEXT SEARCH DICTIONARY shop.simple_german IS 'a dictionary';
COMMENT ON TEXT SEARCH PARSER shop.my_parser IS 'a parser';
COMMENT ON TEXT SEARCH TEMPLATE shop.my_template IS 'a template';

--- plain tables
CREATE SEQUENCE shop.order_numbers AS bigint START 1000 INCREMENT -3 MINVALUE -5000 MAXVALUE 5000 CACHE 5 CYCLE;
SELECT nextval('shop.order_numbers'), nextval('shop.order_numbers');
CREATE SEQUENCE shop.small_numbers AS smallint;
CREATE SEQUENCE shop.not_called START 5;
SELECT setval('shop.not_called', 77, false);
ALTER SEQUENCE shop.order_numbers OWNER TO shop_owner;
GRANT SELECT, UPDATE ON SEQUENCE shop.order_numbers TO shop_writer;
COMMENT ON SEQUENCE shop.order_numbers IS 'a sequence';
CREATE TABLE shop.customers (
  id int GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 5) PRIMARY KEY,
  serial_number serial UNIQUE,
  name text COLLATE shop.german NOT NULL DEFAULT 'it''s \ unnamed',
  email shop.email,
  feeling shop.mood DEFAULT 'sad',
  home shop.address,
  phones text[] DEFAULT '{}' CHECK (cardinality(phones) < 10),
  credit shop.of_domain,
  valid shop.textrange,
  born date,
  CONSTRAINT "odd ""check"" ö" CHECK (name <> ''),
  CONSTRAINT not_yet CHECK (born > '4000-01-01 BC') NO INHERIT
) WITH (fillfactor = 81, autovacuum_enabled = false, toast.autovacuum_vacuum_threshold = 77);
ALTER TABLE shop.customers OWNER TO shop_owner;
INSERT INTO shop.customers (name, email, feeling, home, phones, credit, valid, born) VALUES
  ('Ünal "Ü" O''Neill', 'u@example', 'happy "ö"', ROW('Main St, 1 "rear"', '00-1', '{1,2}'), '{"1 23","x,y"}', 5, '[a,m)', '1990-02-28'),
  ('\.', 'b@example', NULL, NULL, '{}', NULL, NULL, NULL),
  (E'tab\tnewline\ncr\rback\\slash', 'c@example', 'it''s ok', ROW(NULL, '', NULL), '{NULL,""}', 0.01, 'empty', '0001-01-01 BC');
ALTER TABLE shop.customers ADD CONSTRAINT born_lately CHECK (born < '2100-01-01') NOT VALID;
ALTER TABLE shop.customers ALTER COLUMN name SET STATISTICS 333;
ALTER TABLE shop.customers ALTER COLUMN name SET STORAGE EXTERNAL;
ALTER TABLE shop.customers ALTER COLUMN name SET (n_distinct = -0.5, n_distinct_inherited = 20);
ALTER TABLE shop.customers ADD COLUMN dropped_later int;
ALTER TABLE shop.customers DROP COLUMN dropped_later;
ALTER TABLE shop.customers ADD COLUMN added_later int DEFAULT 42;
GRANT SELECT ON shop.customers TO shop_reader;
GRANT SELECT (id, name), UPDATE (name) ON shop.customers TO shop_writer WITH GRANT OPTION;
GRANT INSERT, DELETE, TRUNCATE, REFERENCES, TRIGGER ON shop.customers TO "Odd ""role"" ö";
COMMENT ON TABLE shop.customers IS 'customers: it''s \n "quoted" ö';
COMMENT ON COLUMN shop.customers.name IS 'a column';
COMMENT ON CONSTRAINT "odd ""check"" ö" ON shop.customers IS 'a constraint';
CREATE INDEX customers_lower ON shop.customers (lower(name) COLLATE "C" text_pattern_ops DESC NULLS LAST, born) WHERE born IS NOT NULL;
CREATE UNIQUE INDEX customers_email ON shop.customers (email) WITH (fillfactor = 55) TABLESPACE shop_space;
ALTER TABLE shop.customers REPLICA IDENTITY FULL;
ALTER TABLE shop.customers CLUSTER ON customers_pkey;
COMMENT ON INDEX shop.customers_lower IS 'an index';
CREATE TABLE shop.orders (
  id bigint GENERATED BY DEFAULT AS IDENTITY (MAXVALUE 1000000 CYCLE) PRIMARY KEY,
  customer int NOT NULL REFERENCES shop.customers (id) ON UPDATE CASCADE ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
  number bigint DEFAULT nextval('shop.order_numbers'), placed timestamptz, parent bigint REFERENCES shop.orders,
  amount numeric, note text, UNIQUE (customer, number) DEFERRABLE);
ALTER TABLE shop.orders OWNER TO shop_owner;
INSERT INTO shop.orders (customer, placed, parent, amount, note)
  SELECT 10, timestamptz '2026-01-01 00:00+00' + n * interval '7 hours', nullif(n - 1, 0), n * 1.23, repeat('x', n % 50) FROM generate_series(1, 500) n;
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE shop.orders ADD CONSTRAINT later_checked FOREIGN KEY (parent) REFERENCES shop.orders NOT VALID;
CREATE UNIQUE INDEX orders_number ON shop.orders (number) WHERE number > 0;
ALTER TABLE shop.orders ALTER COLUMN number SET NOT NULL;
CREATE UNIQUE INDEX orders_identity ON shop.orders (number);
ALTER TABLE shop.orders REPLICA IDENTITY USING INDEX orders_identity;
CREATE TABLE shop.no_columns ();
INSERT INTO shop.no_columns DEFAULT VALUES;
INSERT INTO shop.no_columns DEFAULT VALUES;
CREATE TABLE shop.typed OF shop.address (street NOT NULL, "Zip Code" WITH OPTIONS DEFAULT '00000');
INSERT INTO shop.typed VALUES ('a', 'b', '{1}');
CREATE UNLOGGED TABLE shop.unlogged (id int PRIMARY KEY, t text);
INSERT INTO shop.unlogged SELECT n, 'u' || n FROM generate_series(1, 20) n;
CREATE TABLE shop.in_space (id int PRIMARY KEY USING INDEX TABLESPACE shop_space, t text) TABLESPACE shop_space;
INSERT INTO shop.in_space SELECT n, repeat(md5(n::text), 200) FROM generate_series(1, 30) n;
CREATE TABLE "odd schema"."Odd ""table"" ö, it's" ("odd ""column"" ö" int PRIMARY KEY, "select" text, "a.b" text, "new
line" int, "tab	ulator" text);
INSERT INTO "odd schema"."Odd ""table"" ö, it's" VALUES (1, 'from', E'\\.', 2, E'\t'), (2, NULL, '', NULL, '\N');
CREATE TABLE "odd schema"."name
with newline; DROP TABLE x; --" (id serial PRIMARY KEY, "%s %d" text);
INSERT INTO "odd schema"."name
with newline; DROP TABLE x; --" ("%s %d") VALUES ('%s');
CREATE TABLE "dot.ted ""quoted"" ö"."t.a.b" (id int, ref int REFERENCES "odd schema"."Odd ""table"" ö, it's");
INSERT INTO "dot.ted ""quoted"" ö"."t.a.b" VALUES (1, 1);
ALTER TABLE "dot.ted ""quoted"" ö"."t.a.b" OWNER TO "role with.dot and 'quote'";
CREATE TABLE shop.every_type (
  id int PRIMARY KEY, b bool, i2 int2, i8 int8, f4 float4, f8 float8, n numeric, m money, c char(5), v varchar(20), tx text, by bytea,
  d date, t time(3), tz timetz, ts timestamp, tstz timestamptz, iv interval, u uuid, j json, jb jsonb, x xml, pt point, ln line, sg lseg,
  bx box, pth path, pl polygon, ci circle, inet inet, cidr cidr, mac macaddr, mac8 macaddr8, bits bit(5), vbits varbit, tsv tsvector,
  tsq tsquery, r int4range, nr numrange, o oid, rc regclass, "char" "char", nm name, a2 int[][], lsn pg_lsn, mood shop.mood[], lab shop.label);
INSERT INTO shop.every_type VALUES
  (1, true, -32768, 9223372036854775807, 0.1, 0.1, 'NaN', '12.34', 'ab', 'v', E'all \\ \t \n \r \b \f "''$$', '\x00ff5c2e0a', '2026-02-28',
   '12:34:56.789', '12:34:56+02', '2026-02-28 12:34:56.123456', '2026-02-28 12:34:56.123456+02', '1 year -2 months 3 days 04:05:06.7',
   'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a" :  [1, null, "\u00e4"], "a": 2}', '{"b": 1.50, "a": [true]}', '<a b="c">d &amp; e</a>',
   '(1,2.5)', '{1,2,3}', '[(1,2),(3,4)]', '(3,4),(1,2)', '[(1,1),(2,2)]', '((1,1),(2,2),(3,1))', '<(1,2),3>', '192.168.1.5/24',
   '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', B'10101', B'1', 'fat:1A cat:2', 'fat & !rat', '[1,10)', '(,1.5]', 42,
   'pg_class', 'x', 'a name', '{{1,2},{3,NULL}}', '16/B374D848', ARRAY['sad', NULL]::shop.mood[], 'label'),
  (2, false, 0, -1, '-Infinity', 'NaN', 1e100, '-0.01', '', '', '', '', 'infinity', '24:00', '00:00-15:59', '-infinity', 'infinity', '0',
   NULL, 'null', 'null', '', '(0,0)', NULL, NULL, NULL, NULL, NULL, NULL, '::1', '::/0', NULL, NULL, B'00000', B'', '', '', 'empty', '(,)',
   0, NULL, '', '', '{}', '0/0', '{}', '\.');
INSERT INTO shop.every_type (id) VALUES (3);
CREATE TABLE shop.wide (id int, payload text, data bytea);
INSERT INTO shop.wide SELECT n, repeat(md5(n::text) || chr(10) || chr(92) || chr(9), 40000), decode(repeat(md5(n::text), 30000), 'hex') FROM generate_series(1, 2) n;
CREATE TABLE shop.copy_traps (id serial, t text);
INSERT INTO shop.copy_traps (t) VALUES ('\.'), ('\\.'), (E'\\.\n'), (E'\n\\.\n'), ('\N'), (''), (NULL), (E'\r\n'), (E'\t'), (E'\x7f\x01'),
  ('--'), (';'), ('\connect x'), (E'\n\\connect nowhere\n'), ('NULL'), (U&'\+01F600 \FEFF \200B'), (' leading and trailing ');

--- many columns each
DO $$ BEGIN EXECUTE 'CREATE TABLE shop.many_columns (' || (SELECT string_agg('c' || n || ' int', ',') FROM generate_series(1, 1200) n) || ')'; END $$;
INSERT INTO shop.many_columns (c1, c600, c1200) VALUES (1, 600, 1200);

--- generated columns from 12
CREATE TABLE shop.generated (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, t text GENERATED ALWAYS AS ('n' || a) STORED);
INSERT INTO shop.generated (id, a) SELECT n, n * 3 FROM generate_series(1, 40) n;
CREATE INDEX ON shop.generated (twice);

--- virtual generated columns and constraints from 18
CREATE TABLE shop.virtual (id int, a int, half numeric GENERATED ALWAYS AS (a / 2.0), b int CONSTRAINT b_is_there NOT NULL NO INHERIT,
  CONSTRAINT slack CHECK (a > 0) NOT ENFORCED);
INSERT INTO shop.virtual (id, a, b) VALUES (1, 7, 1), (2, -7, 2);
ALTER TABLE shop.virtual ADD CONSTRAINT id_later NOT NULL id NOT VALID;
CREATE TABLE shop.periods (id int4range, during daterange, PRIMARY KEY (id, during WITHOUT OVERLAPS));
CREATE TABLE shop.period_refs (id int4range, during daterange, FOREIGN KEY (id, PERIOD during) REFERENCES shop.periods (id, PERIOD during));
INSERT INTO shop.periods VALUES ('[1,2)', '[2026-01-01,2026-02-01)');
INSERT INTO shop.period_refs VALUES ('[1,2)', '[2026-01-05,2026-01-06)');

--- indexes of later versions from 11
CREATE INDEX orders_covering ON shop.orders (customer) INCLUDE (amount, note);
ALTER TABLE shop.every_type ADD COLUMN fast_default timestamptz DEFAULT '2026-01-01 00:00+00';
CREATE INDEX orders_expression ON shop.orders ((amount * 2), (lower(note)));
ALTER INDEX shop.orders_expression ALTER COLUMN 1 SET STATISTICS 55;

--- storage from 14
CREATE TABLE shop.compressed (t text COMPRESSION pglz, u text) WITH (toast_tuple_target = 500);
ALTER TABLE shop.compressed ALTER COLUMN u SET STORAGE MAIN;
INSERT INTO shop.compressed VALUES (repeat('a', 10000), 'u');

--- nulls not distinct from 15
CREATE TABLE shop.one_null (a int, UNIQUE NULLS NOT DISTINCT (a));
INSERT INTO shop.one_null VALUES (NULL), (1);
CREATE TABLE shop.set_null_columns (a int, b int, FOREIGN KEY (a) REFERENCES shop.generated ON DELETE SET NULL (a));
CREATE UNLOGGED SEQUENCE shop.unlogged_numbers;

--- inheritance
CREATE TABLE shop.vehicles (id int PRIMARY KEY, name text NOT NULL, wheels int DEFAULT 4, CONSTRAINT has_wheels CHECK (wheels >= 0));
CREATE TABLE shop.tags (tag text);
CREATE TABLE shop.bikes (gears int, wheels int DEFAULT 2) INHERITS (shop.vehicles, shop.tags);
CREATE TABLE shop.racing_bikes (CHECK (gears > 5)) INHERITS (shop.bikes);
INSERT INTO shop.vehicles VALUES (1, 'cart');
INSERT INTO shop.bikes VALUES (2, 'bike', 2, 'red', 3);
INSERT INTO shop.racing_bikes VALUES (3, 'fast', 2, 'blue', 21);

--- partitions
CREATE TABLE shop.events (id bigint NOT NULL, tenant int NOT NULL DEFAULT 1, at date NOT NULL, kind text, data jsonb) PARTITION BY RANGE (at);
CREATE TABLE shop.events_2025 PARTITION OF shop.events FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE shop.events_2026_01 PARTITION OF shop.events (CONSTRAINT own_check CHECK (id > 0)) FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE shop.events_2026_02 PARTITION OF shop.events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01') PARTITION BY LIST (tenant);
CREATE TABLE shop.events_2026_02_a PARTITION OF shop.events_2026_02 FOR VALUES IN (1, 2);
CREATE TABLE "odd schema"."events 2026.02 ""b""" PARTITION OF shop.events_2026_02 (tenant DEFAULT 3) FOR VALUES IN (3, NULL);
INSERT INTO shop.events SELECT n, 1 + n % 3, date '2025-12-15' + n % 70, 'k' || n % 5, jsonb_build_object('n', n) FROM generate_series(1, 700) n;
CREATE TABLE shop.by_expression (a int, b text COLLATE "C") PARTITION BY RANGE ((a + 1), lower(b) COLLATE "C");
CREATE TABLE shop.by_expression_1 PARTITION OF shop.by_expression FOR VALUES FROM (1, 'a') TO (100, MAXVALUE);
INSERT INTO shop.by_expression VALUES (5, 'Q'), (99, 'z');
CREATE TABLE shop.no_partitions (a int) PARTITION BY LIST (a);
CREATE TABLE shop.attached (data jsonb, at date NOT NULL, id bigint NOT NULL, kind text, tenant int NOT NULL);
INSERT INTO shop.attached VALUES ('{}', '2026-03-05', 9001, 'late', 1);
ALTER TABLE shop.events ATTACH PARTITION shop.attached FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');

--- partitions of later versions from 11
CREATE TABLE shop.hashed (id int PRIMARY KEY, t text) PARTITION BY HASH (id);
CREATE TABLE shop.hashed_0 PARTITION OF shop.hashed FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE shop.hashed_1 PARTITION OF shop.hashed FOR VALUES WITH (MODULUS 3, REMAINDER 1) TABLESPACE shop_space;
CREATE TABLE shop.hashed_2 PARTITION OF shop.hashed FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO shop.hashed SELECT n, 'h' || n FROM generate_series(1, 100) n;
CREATE TABLE shop.listed (region text, id int, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE shop.listed_eu PARTITION OF shop.listed FOR VALUES IN ('de', 'fr', 'it''s "odd"');
CREATE TABLE shop.listed_rest PARTITION OF shop.listed DEFAULT;
INSERT INTO shop.listed VALUES ('de', 1), ('us', 2), ('it''s "odd"', 3);
CREATE INDEX events_kind ON shop.events (kind);
CREATE INDEX listed_id ON ONLY shop.listed (id);
CREATE TABLE shop.enum_part (m shop.mood) PARTITION BY LIST (m);
CREATE TABLE shop.enum_part_sad PARTITION OF shop.enum_part FOR VALUES IN ('sad');
INSERT INTO shop.enum_part VALUES ('sad'), ('sad');
CREATE TRIGGER events_touch AFTER INSERT ON shop.events FOR EACH ROW EXECUTE PROCEDURE shop.note_statement();
ALTER TABLE shop.events ADD CONSTRAINT events_pk PRIMARY KEY (id, at, tenant);

--- foreign keys to partitions from 12
CREATE TABLE shop.hashed_refs (id int PRIMARY KEY REFERENCES shop.hashed (id));
INSERT INTO shop.hashed_refs SELECT generate_series(1, 20);
CREATE TABLE shop.part_refs (id int, h int REFERENCES shop.hashed) PARTITION BY RANGE (id);
CREATE TABLE shop.part_refs_1 PARTITION OF shop.part_refs FOR VALUES FROM (1) TO (50);
INSERT INTO shop.part_refs VALUES (1, 1), (2, NULL);

--- identity on partitions from 17
CREATE TABLE shop.identity_part (id int GENERATED ALWAYS AS IDENTITY, a int) PARTITION BY RANGE (a);
CREATE TABLE shop.identity_part_1 PARTITION OF shop.identity_part FOR VALUES FROM (0) TO (10);
INSERT INTO shop.identity_part (a) VALUES (1), (2);

--- triggers and rules
CREATE TRIGGER touch BEFORE INSERT OR UPDATE OF name, email ON shop.customers FOR EACH ROW WHEN (NEW.name <> 'x') EXECUTE PROCEDURE shop.touch('it''s', '"arg"');
CREATE TRIGGER "odd ""trigger"" ö" AFTER UPDATE ON shop.customers REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE PROCEDURE shop.note_statement();
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON shop.orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE PROCEDURE shop.note_statement();
CREATE TRIGGER off_trigger AFTER DELETE ON shop.orders FOR EACH STATEMENT EXECUTE PROCEDURE shop.note_statement();
ALTER TABLE shop.orders DISABLE TRIGGER off_trigger;
CREATE TRIGGER always_trigger AFTER TRUNCATE ON shop.orders FOR EACH STATEMENT EXECUTE PROCEDURE shop.note_statement();
ALTER TABLE shop.orders ENABLE ALWAYS TRIGGER always_trigger;
CREATE TRIGGER replica_trigger BEFORE DELETE ON shop.orders FOR EACH ROW EXECUTE PROCEDURE shop.touch();
ALTER TABLE shop.orders ENABLE REPLICA TRIGGER replica_trigger;
COMMENT ON TRIGGER touch ON shop.customers IS 'a trigger';
CREATE RULE keep_one AS ON DELETE TO shop.tags WHERE OLD.tag = 'keep' DO INSTEAD NOTHING;
CREATE RULE also AS ON INSERT TO shop.typed DO ALSO (UPDATE shop.tags SET tag = 'x' WHERE false; DELETE FROM shop.tags WHERE false);
COMMENT ON RULE keep_one ON shop.tags IS 'a rule';
CREATE RULE off_rule AS ON UPDATE TO shop.typed DO INSTEAD NOTHING;
ALTER TABLE shop.typed DISABLE RULE off_rule;

--- views
CREATE VIEW shop.good_customers AS SELECT id, name, email FROM shop.customers WHERE added_later = 42 WITH LOCAL CHECK OPTION;
CREATE VIEW shop.better_customers WITH (security_barrier) AS SELECT * FROM shop.good_customers WHERE name <> '' WITH CASCADED CHECK OPTION;
ALTER VIEW shop.better_customers OWNER TO shop_owner;
ALTER VIEW shop.good_customers ALTER COLUMN name SET DEFAULT 'of the view';
GRANT SELECT ON shop.good_customers TO shop_reader, shop_owner;
COMMENT ON VIEW shop.good_customers IS 'a view';
COMMENT ON COLUMN shop.good_customers.name IS 'a column of a view';
CREATE VIEW shop.totals AS SELECT c.id, c.name, sum(o.amount) AS total, count(*) FILTER (WHERE o.amount > 10) AS large
  FROM shop.customers c LEFT JOIN shop.orders o ON o.customer = c.id GROUP BY c.id;
CREATE RECURSIVE VIEW shop.chain (id, depth) AS SELECT id, 1 FROM shop.orders WHERE parent IS NULL
  UNION ALL SELECT o.id, depth + 1 FROM shop.orders o JOIN chain c ON o.parent = c.id WHERE depth < 20;
CREATE VIEW "odd schema".across AS SELECT t.id AS "odd ""id""", o."a.b", shop.add_tax(1) AS tax FROM "dot.ted ""quoted"" ö"."t.a.b" t
  JOIN "odd schema"."Odd ""table"" ö, it's" o ON o."odd ""column"" ö" = t.ref;
CREATE VIEW shop.no_columns_view AS SELECT FROM shop.no_columns;
CREATE VIEW shop.windowed AS SELECT id, row_number() OVER w AS n, extract(year FROM placed) AS y FROM shop.orders WINDOW w AS (PARTITION BY customer ORDER BY placed DESC NULLS LAST);
CREATE FUNCTION shop.instead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER instead INSTEAD OF UPDATE ON shop.totals FOR EACH ROW EXECUTE PROCEDURE shop.instead();
CREATE VIEW shop.circle_a AS SELECT 1 AS n;
CREATE VIEW shop.circle_b AS SELECT n FROM shop.circle_a;
CREATE OR REPLACE VIEW shop.circle_a AS SELECT n FROM (SELECT 2 AS n) s;
CREATE MATERIALIZED VIEW shop.order_days AS SELECT date_trunc('day', placed AT TIME ZONE 'UTC') AS day, count(*) AS n, sum(amount) AS total FROM shop.orders GROUP BY 1 WITH DATA;
CREATE UNIQUE INDEX order_days_day ON shop.order_days (day);
CREATE MATERIALIZED VIEW shop.order_months WITH (fillfactor = 70) AS SELECT date_trunc('month', day) AS month, sum(n) AS n FROM shop.order_days GROUP BY 1;
CREATE MATERIALIZED VIEW shop.not_filled AS SELECT * FROM shop.order_months WITH NO DATA;
ALTER MATERIALIZED VIEW shop.order_days OWNER TO shop_owner;
COMMENT ON MATERIALIZED VIEW shop.order_days IS 'a materialized view';

--- views of later versions from 15
CREATE VIEW shop.invoker WITH (security_invoker = true) AS SELECT id FROM shop.orders;

--- statistics objects
CREATE STATISTICS shop.order_stats (ndistinct, dependencies) ON customer, number, placed FROM shop.orders;
ALTER STATISTICS shop.order_stats OWNER TO shop_owner;
COMMENT ON STATISTICS shop.order_stats IS 'statistics';

--- statistics of later versions from 14
CREATE STATISTICS shop.order_expressions (mcv) ON (amount * 2), lower(note) FROM shop.orders;
ALTER STATISTICS shop.order_expressions SET STATISTICS 123;
ALTER VIEW shop.windowed RENAME COLUMN n TO number;
CREATE VIEW shop.recursive_search AS WITH RECURSIVE t(id, parent) AS (SELECT id, parent FROM shop.orders WHERE parent IS NULL
  UNION ALL SELECT o.id, o.parent FROM shop.orders o JOIN t ON o.parent = t.id WHERE o.id < 10) SEARCH DEPTH FIRST BY id SET ord
  CYCLE id SET is_cycle USING path SELECT id, ord::text FROM t;

--- row security
CREATE TABLE shop.secrets (id int PRIMARY KEY, owner name DEFAULT current_user, body text);
INSERT INTO shop.secrets VALUES (1, 'shop_owner', 'mine'), (2, 'shop_writer', 'theirs');
ALTER TABLE shop.secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE shop.secrets FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON shop.secrets USING (owner = current_user) WITH CHECK (owner = current_user AND body <> '');
CREATE POLICY "odd ""policy""" ON shop.secrets AS RESTRICTIVE FOR SELECT TO shop_reader, "Odd ""role"" ö" USING (id < 100);
CREATE POLICY insert_only ON shop.secrets FOR INSERT TO shop_writer WITH CHECK (EXISTS (SELECT 1 FROM shop.customers));
COMMENT ON POLICY own_rows ON shop.secrets IS 'a policy';
CREATE TABLE shop.secured_only (id int);
ALTER TABLE shop.secured_only ENABLE ROW LEVEL SECURITY;

--- large objects
SELECT lo_from_bytea(70001, '\x00010203ff5c2e0a'), lo_from_bytea(70002, convert_to(repeat('large object ', 30000), 'UTF8')), lo_create(70003), lo_from_bytea(70004, 'kept private');
ALTER LARGE OBJECT 70001 OWNER TO shop_owner;
GRANT SELECT, UPDATE ON LARGE OBJECT 70002 TO shop_writer;
GRANT SELECT ON LARGE OBJECT 70001 TO PUBLIC;
COMMENT ON LARGE OBJECT 70002 IS 'a large object';

--- foreign data
CREATE FOREIGN DATA WRAPPER dummy_wrapper OPTIONS (debug 'true', "odd ""option""" 'it''s');
ALTER FOREIGN DATA WRAPPER dummy_wrapper OPTIONS (ADD later '1');
CREATE SERVER dummy_server TYPE 'odd ''type''' VERSION '1.2.3' FOREIGN DATA WRAPPER dummy_wrapper OPTIONS (host 'nowhere');
ALTER SERVER dummy_server OWNER TO shop_admin;
CREATE USER MAPPING FOR PUBLIC SERVER dummy_server OPTIONS (user 'guest');
CREATE USER MAPPING FOR shop_writer SERVER dummy_server OPTIONS (user 'writer', password 'it''s secret');
CREATE FOREIGN TABLE shop.dummy_far (id int OPTIONS (a 'b') NOT NULL, t text DEFAULT 'x') SERVER dummy_server OPTIONS (file '/nowhere');
CREATE TABLE shop.far_parts (a int, t text) PARTITION BY LIST (a);
CREATE FOREIGN TABLE shop.far_part_77 PARTITION OF shop.far_parts FOR VALUES IN (77) SERVER dummy_server;
GRANT USAGE ON FOREIGN DATA WRAPPER dummy_wrapper TO shop_admin;
GRANT USAGE ON FOREIGN SERVER dummy_server TO shop_writer WITH GRANT OPTION;
GRANT SELECT ON shop.dummy_far TO shop_reader;
COMMENT ON FOREIGN DATA WRAPPER dummy_wrapper IS 'a wrapper';
COMMENT ON SERVER dummy_server IS 'a server';
COMMENT ON FOREIGN TABLE shop.dummy_far IS 'a foreign table';

--- event triggers
CREATE FUNCTION shop.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE EVENT TRIGGER ddl_watch ON ddl_command_end WHEN TAG IN ('CREATE FUNCTION', 'DROP FUNCTION') EXECUTE PROCEDURE shop.on_ddl();
CREATE EVENT TRIGGER ddl_off ON sql_drop EXECUTE PROCEDURE shop.on_ddl();
ALTER EVENT TRIGGER ddl_off DISABLE;
COMMENT ON EVENT TRIGGER ddl_watch IS 'an event trigger';

--- event triggers at login from 17
CREATE EVENT TRIGGER at_login ON login EXECUTE FUNCTION shop.on_ddl();

--- publications
CREATE PUBLICATION pub_some FOR TABLE shop.customers, ONLY shop.vehicles WITH (publish = 'insert, update');
CREATE PUBLICATION pub_all FOR ALL TABLES;
CREATE PUBLICATION "odd ""pub"" ö";
ALTER PUBLICATION pub_some OWNER TO shop_writer;
COMMENT ON PUBLICATION pub_some IS 'a publication';
CREATE SUBSCRIPTION sub_none CONNECTION 'host=/nowhere dbname=none' PUBLICATION p1, "odd ""pub""" WITH (connect = false, enabled = false, slot_name = NONE);
COMMENT ON SUBSCRIPTION sub_none IS 'a subscription';

--- publications of later versions from 13
CREATE PUBLICATION pub_root FOR TABLE shop.events WITH (publish_via_partition_root = true);

--- publications with filters from 15
CREATE PUBLICATION pub_filter FOR TABLE shop.orders WHERE (amount > 10 AND note IS NOT NULL), shop.customers (id, name) WITH (publish = 'insert');
CREATE PUBLICATION pub_schema FOR TABLES IN SCHEMA "odd schema", shop;

--- publications with generated columns from 18
CREATE PUBLICATION pub_generated FOR TABLE shop.generated WITH (publish_generated_columns = stored);

--- grants on system objects
REVOKE EXECUTE ON FUNCTION pg_catalog.pg_sleep(float8) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_sleep(float8) TO shop_admin;
GRANT SELECT ON pg_catalog.pg_authid TO shop_admin;
GRANT CREATE ON SCHEMA public TO shop_plain;

--- tenants
DO $$
DECLARE s text;
BEGIN
  FOR n IN 1..5 LOOP
    s := 'tenant_' || n;
    EXECUTE format('CREATE SCHEMA %I AUTHORIZATION shop_owner', s);
    EXECUTE format('CREATE TYPE %I.state AS ENUM (''new'', ''done'')', s);
    EXECUTE format('CREATE TABLE %I.accounts (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text NOT NULL)', s);
    EXECUTE format('CREATE TABLE %I.items (id bigserial PRIMARY KEY, account int NOT NULL REFERENCES %I.accounts, state %I.state DEFAULT ''new'', at timestamptz, body text)', s, s, s);
    EXECUTE format('CREATE INDEX items_at ON %I.items (at)', s);
    EXECUTE format('CREATE VIEW %I.open_items AS SELECT i.id, a.name FROM %I.items i JOIN %I.accounts a ON a.id = i.account WHERE i.state = ''new''', s, s, s);
    EXECUTE format('CREATE FUNCTION %I.tenant_number() RETURNS int LANGUAGE sql IMMUTABLE AS ''SELECT %s''', s, n);
    EXECUTE format('INSERT INTO %I.accounts (name) SELECT ''account '' || g FROM generate_series(1, 10) g', s);
    EXECUTE format('INSERT INTO %I.items (account, state, at, body) SELECT 1 + g %% 10, ''done'', timestamptz ''2026-01-01 00:00+00'' + g * interval ''1 minute'', md5(g::text || %s) FROM generate_series(1, 200) g', s, n);
    EXECUTE format('ALTER TABLE %I.accounts OWNER TO shop_owner', s);
    EXECUTE format('GRANT SELECT ON %I.items TO shop_reader', s);
    EXECUTE format('COMMENT ON TABLE %I.items IS ''items of tenant %s''', s, n);
  END LOOP;
END $$;

--- owners of what is left each
ALTER DATABASE shop SET "shop.last" = 'set';
CREATE TABLE public.in_public (id int PRIMARY KEY, t text);
INSERT INTO public.in_public VALUES (1, 'public');
