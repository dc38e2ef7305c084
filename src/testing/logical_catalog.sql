-- What a database is made of, read from its catalogs for comparison with another one: each section yields identity and
-- definition of the objects of a kind, free of OIDs and of what a dump cannot keep. A section begins with
-- "--- kind [from MAJOR] [until MAJOR]"; sections of kinds that begin with "global" are of the cluster.
-- {acl COLUMN TYPE OWNER} is a list of privileges in a fixed order, with the default where there is none;
-- {own CLASS OID} tells what neither the system nor an extension brought; {user OID} is the name of a role.
-- pg_attver, which minor releases from 15.20 on keep among the options of columns, is a number of the server's own.
-- to_jsonb(x)->>'column' is null where a version lacks the column.

--- schema
SELECT quote_ident(nspname), concat_ws('; ', 'owner=' || {user nspowner}, 'acl=' || {acl nspacl n nspowner})
FROM pg_namespace n
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND (n.oid = 2200 OR {own pg_namespace n.oid})

--- extension
SELECT quote_ident(extname), concat_ws('; ', 'schema=' || extnamespace::regnamespace, 'relocatable=' || extrelocatable, 'owner=' || {user extowner},
  'config=' || (SELECT string_agg(c::regclass::text, ',' ORDER BY c::regclass::text) FROM unnest(extconfig) c), 'condition=' || extcondition::text)
FROM pg_extension

--- extension version
SELECT quote_ident(extname), extversion FROM pg_extension

--- relation
SELECT format('%s %I.%I', CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view' WHEN 'm' THEN
    'materialized view' WHEN 'f' THEN 'foreign table' WHEN 'S' THEN 'sequence' WHEN 'i' THEN 'index' WHEN 'I' THEN 'partitioned index'
    WHEN 'c' THEN 'composite type' ELSE c.relkind::text END, n.nspname, c.relname),
  concat_ws('; ', 'owner=' || {user c.relowner},
  CASE WHEN c.relkind NOT IN ('i', 'I', 'c') THEN 'acl=' || CASE c.relkind WHEN 'S' THEN {acl c.relacl s c.relowner} ELSE {acl c.relacl r c.relowner} END END,
  'persistence=' || c.relpersistence::text, 'space=' || s.spcname, 'method=' || coalesce(am.amname, CASE WHEN c.relkind IN ('r', 'm') THEN 'heap' END),
  'options=' || (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(c.reloptions) o),
  'toast options=' || (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(t.reloptions) o),
  CASE WHEN c.relrowsecurity THEN 'row security' END, CASE WHEN c.relforcerowsecurity THEN 'forced row security' END,
  CASE WHEN c.relkind IN ('r', 'p', 'm') THEN 'identity=' || c.relreplident::text END,
  CASE WHEN c.reloftype <> 0 THEN 'of=' || c.reloftype::regtype END, CASE WHEN NOT c.relispopulated THEN 'not populated' END,
  'parents=' || (SELECT string_agg(inhparent::regclass::text, ',' ORDER BY inhseqno) FROM pg_inherits WHERE inhrelid = c.oid),
  CASE WHEN c.relkind <> 'v' THEN 'bound=' || pg_get_expr(c.relpartbound, c.oid) END, CASE WHEN c.relkind = 'p' THEN 'key=' || pg_get_partkeydef(c.oid) END,
  (SELECT concat_ws('; ', 'server=' || srvname, 'table options=' || (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(ftoptions) o)) FROM pg_foreign_table JOIN pg_foreign_server f ON f.oid = ftserver WHERE ftrelid = c.oid))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
  LEFT JOIN pg_am am ON am.oid = c.relam LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND {own pg_class c.oid}

--- view
SELECT c.oid::regclass::text, pg_get_viewdef(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND {own pg_class c.oid}

--- column
SELECT format('%s.%I', a.attrelid::regclass, a.attname), concat_ws('; ', '#' || row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum),
  format_type(a.atttypid, a.atttypmod), CASE WHEN a.attcollation <> 0 THEN 'collation=' || (pg_identify_object('pg_collation'::regclass, a.attcollation, 0)).identity END,
  CASE WHEN a.attnotnull THEN 'not null' END, 'default=' || pg_get_expr(d.adbin, d.adrelid), 'identity=' || nullif(a.attidentity::text, ''),
  'generated=' || nullif(to_jsonb(a)->>'attgenerated', ''), 'storage=' || a.attstorage::text, 'compression=' || nullif(to_jsonb(a)->>'attcompression', ''),
  'target=' || nullif(to_jsonb(a)->>'attstattarget', '-1'), 'options=' || (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(a.attoptions) o WHERE o !~ '^pg_attver='), 'fdw=' || (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(a.attfdwoptions) o),
  'acl=' || (SELECT string_agg(x::text, ' ' ORDER BY x::text COLLATE "C") FROM unnest(a.attacl) x),
  CASE WHEN NOT a.attislocal THEN 'inherited' END, 'parents=' || nullif(a.attinhcount, 0))
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND n.nspname !~ '^pg_'
  AND n.nspname <> 'information_schema' AND {own pg_class c.oid}

--- index column
SELECT format('%s #%s', a.attrelid::regclass, a.attnum), concat_ws('; ', 'target=' || nullif(to_jsonb(a)->>'attstattarget', '-1'), 'options=' || (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(a.attoptions) o WHERE o !~ '^pg_attver='))
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE a.attnum > 0 AND c.relkind IN ('i', 'I') AND n.nspname !~ '^pg_' AND {own pg_class c.oid}

--- index
SELECT indexrelid::regclass::text, concat_ws('; ', pg_get_indexdef(indexrelid), CASE WHEN indisclustered THEN 'clustered' END,
  CASE WHEN indisreplident THEN 'identity' END, CASE WHEN indisprimary THEN 'primary' END, CASE WHEN NOT indisvalid THEN 'not valid' END)
FROM pg_index i JOIN pg_class c ON c.oid = indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND {own pg_class i.indrelid}

--- constraint
SELECT concat_ws(' ', quote_ident(conname), 'on', CASE WHEN conrelid <> 0 THEN conrelid::regclass::text END, CASE WHEN contypid <> 0 THEN contypid::regtype::text END),
  concat_ws('; ', 'type=' || contype::text, pg_get_constraintdef(k.oid), CASE WHEN NOT convalidated THEN 'not valid' END,
  CASE WHEN condeferrable THEN 'deferrable' END, CASE WHEN condeferred THEN 'deferred' END,
  CASE WHEN NOT conislocal THEN 'inherited' END, 'parents=' || nullif(coninhcount, 0),
  'index=' || nullif(conindid, 0)::regclass)
FROM pg_constraint k JOIN pg_namespace n ON n.oid = connamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND contype <> 't'
  -- Not what a foreign key keeps for each partition that it refers to: the server names those.
  AND NOT EXISTS (SELECT FROM pg_constraint parent WHERE k.contype = 'f' AND parent.oid::text = to_jsonb(k)->>'conparentid' AND parent.conrelid = k.conrelid)
  AND (conrelid = 0 OR {own pg_class conrelid}) AND (contypid = 0 OR {own pg_type contypid})

--- trigger
SELECT format('%I on %s', tgname, tgrelid::regclass), concat_ws('; ', pg_get_triggerdef(t.oid), 'enabled=' || tgenabled::text)
FROM pg_trigger t WHERE NOT tgisinternal AND coalesce(to_jsonb(t)->>'tgparentid', '0') = '0' AND {own pg_trigger t.oid}

--- trigger of a partition from 15
SELECT format('%I on %s', tgname, tgrelid::regclass), 'enabled=' || tgenabled::text FROM pg_trigger t WHERE NOT tgisinternal AND tgparentid <> 0

--- rule
SELECT format('%I on %s', rulename, ev_class::regclass), concat_ws('; ', pg_get_ruledef(r.oid), 'enabled=' || ev_enabled::text)
FROM pg_rewrite r WHERE rulename <> '_RETURN' AND {own pg_rewrite r.oid}

--- policy
SELECT format('%I on %s', polname, polrelid::regclass), concat_ws('; ', 'command=' || polcmd::text, CASE WHEN polpermissive THEN 'permissive' END,
  'roles=' || (SELECT string_agg(CASE o WHEN 0 THEN 'public' ELSE {user o} END, ',' ORDER BY {user o} COLLATE "C") FROM unnest(polroles) o),
  'using=' || pg_get_expr(polqual, polrelid), 'check=' || pg_get_expr(polwithcheck, polrelid))
FROM pg_policy

--- function
SELECT format('%s %I.%I(%s)', CASE WHEN k = 'a' THEN 'aggregate' WHEN k = 'p' THEN 'procedure' ELSE 'function' END, n.nspname, proname,
    (SELECT string_agg(format_type(t, NULL), ', ' ORDER BY n) FROM unnest(proargtypes) WITH ORDINALITY AS a(t, n))),
  concat_ws('; ', 'owner=' || {user proowner}, 'acl=' || {acl proacl f proowner}, CASE WHEN k <> 'a' THEN pg_get_functiondef(p.oid) END,
  CASE WHEN k = 'a' THEN pg_get_function_result(p.oid) || ' ' || pg_get_function_arguments(p.oid) || ' parallel=' || proparallel::text END)
FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace,
  LATERAL (SELECT coalesce(to_jsonb(p)->>'prokind', CASE WHEN to_jsonb(p)->>'proisagg' = 'true' THEN 'a' ELSE 'f' END) AS k) kinds
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND {own pg_proc p.oid}
  -- Not the constructors of ranges.
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'i')

--- aggregate
SELECT a.aggfnoid::regprocedure::text, concat_ws('; ', ((to_jsonb(a) - '{aggfnoid,aggsortop,aggtranstype,aggmtranstype}'::text[])::text),
  'sort=' || nullif(aggsortop, 0)::regoperator, 'state=' || aggtranstype::regtype, 'moving state=' || nullif(aggmtranstype, 0)::regtype)
FROM pg_aggregate a WHERE {own pg_proc a.aggfnoid}

--- type
SELECT format('%I.%I', n.nspname, typname), concat_ws('; ', 'type=' || typtype::text, 'owner=' || {user typowner}, 'acl=' || {acl typacl T typowner},
  'category=' || typcategory::text || typispreferred::int, CASE WHEN NOT typisdefined THEN 'shell' END,
  'labels=' || (SELECT string_agg(quote_literal(enumlabel), ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid),
  CASE WHEN typtype = 'd' THEN concat_ws('; ', 'base=' || format_type(typbasetype, typtypmod), CASE WHEN typnotnull THEN 'not null' END, 'default=' || typdefault) END,
  CASE WHEN typcollation <> 0 THEN 'collation=' || (pg_identify_object('pg_collation'::regclass, typcollation, 0)).identity END,
  CASE WHEN typtype = 'b' THEN format('in=%s out=%s send=%s receive=%s length=%s align=%s storage=%s delimiter=%s by value=%s',
    typinput, typoutput, typsend, typreceive, typlen, typalign, typstorage, typdelim, typbyval) END,
  (SELECT concat_ws(' ', 'subtype=' || rngsubtype::regtype, 'range collation=' || (pg_identify_object('pg_collation'::regclass, nullif(rngcollation, 0), 0)).identity,
      'class=' || (SELECT opcname FROM pg_opclass o WHERE o.oid = rngsubopc), 'canonical=' || rngcanonical, 'difference=' || rngsubdiff,
      'multirange=' || ((to_jsonb(g)->>'rngmultitypid')::oid)::regtype) FROM pg_range g WHERE rngtypid = t.oid))
FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace LEFT JOIN pg_class c ON c.oid = typrelid
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND typtype <> 'm' AND (c.oid IS NULL OR c.relkind = 'c')
  AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid) AND {own pg_type t.oid}

--- collation
SELECT format('%I.%I', n.nspname, collname), concat_ws('; ', 'owner=' || {user collowner},
  jsonb_strip_nulls(to_jsonb(c) - '{oid,collname,collnamespace,collowner,collversion,colliculocale,colllocale,collcollate,collctype,collisdeterministic}'::text[])::text,
  'deterministic=' || coalesce(to_jsonb(c)->>'collisdeterministic', 'true'),
  'locale=' || coalesce(to_jsonb(c)->>'colllocale', to_jsonb(c)->>'colliculocale', to_jsonb(c)->>'collcollate'),
  'libc=' || CASE WHEN collprovider = 'c' THEN concat_ws('/', to_jsonb(c)->>'collcollate', to_jsonb(c)->>'collctype') END)
FROM pg_collation c JOIN pg_namespace n ON n.oid = collnamespace WHERE {own pg_collation c.oid}

--- conversion
SELECT format('%I.%I', n.nspname, conname), concat_ws('; ', 'owner=' || {user conowner}, pg_encoding_to_char(conforencoding), pg_encoding_to_char(contoencoding), conproc::text, condefault::text)
FROM pg_conversion c JOIN pg_namespace n ON n.oid = connamespace WHERE {own pg_conversion c.oid}

--- operator
SELECT o.oid::regoperator::text, concat_ws('; ', 'owner=' || {user oprowner}, oprresult::regtype::text, oprcode::text, 'commutator=' || nullif(oprcom, 0)::regoperator,
  'negator=' || nullif(oprnegate, 0)::regoperator, oprrest::text, oprjoin::text, 'hashes=' || oprcanhash, 'merges=' || oprcanmerge)
FROM pg_operator o WHERE {own pg_operator o.oid}

--- operator class
SELECT identity, concat_ws('; ', 'owner=' || {user opcowner}, 'family=' || (pg_identify_object('pg_opfamily'::regclass, opcfamily, 0)).identity, opcintype::regtype::text,
  'default=' || opcdefault, 'key=' || nullif(opckeytype, 0)::regtype)
FROM pg_opclass o, LATERAL pg_identify_object('pg_opclass'::regclass, o.oid, 0) WHERE {own pg_opclass o.oid}

--- operator family
SELECT identity, 'owner=' || {user opfowner} FROM pg_opfamily o, LATERAL pg_identify_object('pg_opfamily'::regclass, o.oid, 0) WHERE {own pg_opfamily o.oid}

--- operator family member
SELECT identity, concat_ws('; ', amopopr::regoperator::text, amoppurpose::text) FROM pg_amop o, LATERAL pg_identify_object('pg_amop'::regclass, o.oid, 0) WHERE {own pg_opfamily amopfamily}
UNION ALL SELECT identity, amproc::regprocedure::text FROM pg_amproc o, LATERAL pg_identify_object('pg_amproc'::regclass, o.oid, 0) WHERE {own pg_opfamily amprocfamily}

--- cast
SELECT format('%s to %s', castsource::regtype, casttarget::regtype), concat_ws('; ', nullif(castfunc, 0)::regprocedure::text, castcontext::text, castmethod::text)
FROM pg_cast c WHERE {own pg_cast c.oid} AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_cast'::regclass AND objid = c.oid AND deptype = 'i')

--- access method
SELECT quote_ident(amname), concat_ws('; ', amhandler::text, amtype::text) FROM pg_am a WHERE {own pg_am a.oid}

--- language
SELECT quote_ident(lanname), concat_ws('; ', 'owner=' || {user lanowner}, 'acl=' || {acl lanacl l lanowner}, 'trusted=' || lanpltrusted,
  nullif(lanplcallfoid, 0)::regproc::text, nullif(laninline, 0)::regproc::text, nullif(lanvalidator, 0)::regproc::text)
FROM pg_language l WHERE {own pg_language l.oid}

--- transform
SELECT format('%s for %s', trftype::regtype, lanname), concat_ws('; ', trffromsql::text, trftosql::text)
FROM pg_transform t JOIN pg_language l ON l.oid = trflang WHERE {own pg_transform t.oid}

--- text search configuration
SELECT format('%I.%I', n.nspname, cfgname), concat_ws('; ', 'owner=' || {user cfgowner}, 'parser=' || (pg_identify_object('pg_ts_parser'::regclass, cfgparser, 0)).identity,
  (SELECT string_agg(format('%s/%s=%s', maptokentype, mapseqno, mapdict::regdictionary), ',' ORDER BY maptokentype, mapseqno) FROM pg_ts_config_map WHERE mapcfg = c.oid))
FROM pg_ts_config c JOIN pg_namespace n ON n.oid = cfgnamespace WHERE {own pg_ts_config c.oid}

--- text search dictionary
SELECT format('%I.%I', n.nspname, dictname), concat_ws('; ', 'owner=' || {user dictowner}, (pg_identify_object('pg_ts_template'::regclass, dicttemplate, 0)).identity, dictinitoption)
FROM pg_ts_dict d JOIN pg_namespace n ON n.oid = dictnamespace WHERE {own pg_ts_dict d.oid}

--- text search parser
SELECT format('%I.%I', n.nspname, prsname), concat_ws('; ', prsstart::text, prstoken::text, prsend::text, prsheadline::text, prslextype::text)
FROM pg_ts_parser p JOIN pg_namespace n ON n.oid = prsnamespace WHERE {own pg_ts_parser p.oid}

--- text search template
SELECT format('%I.%I', n.nspname, tmplname), concat_ws('; ', tmplinit::text, tmpllexize::text)
FROM pg_ts_template t JOIN pg_namespace n ON n.oid = tmplnamespace WHERE {own pg_ts_template t.oid}

--- statistics
SELECT format('%I.%I', n.nspname, stxname), concat_ws('; ', 'owner=' || {user stxowner}, pg_get_statisticsobjdef(s.oid), 'kinds=' || stxkind::text,
  'target=' || nullif(to_jsonb(s)->>'stxstattarget', '-1'))
FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = stxnamespace WHERE {own pg_statistic_ext s.oid}

--- foreign data wrapper
SELECT quote_ident(fdwname), concat_ws('; ', 'owner=' || {user fdwowner}, 'acl=' || {acl fdwacl F fdwowner}, nullif(fdwhandler, 0)::regproc::text, nullif(fdwvalidator, 0)::regproc::text, 'options=' || (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(fdwoptions) o))
FROM pg_foreign_data_wrapper f WHERE {own pg_foreign_data_wrapper f.oid}

--- foreign server
SELECT quote_ident(srvname), concat_ws('; ', 'owner=' || {user srvowner}, 'acl=' || {acl srvacl S srvowner}, 'wrapper=' || fdwname, 'type=' || srvtype, 'version=' || srvversion, 'options=' || (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(srvoptions) o))
FROM pg_foreign_server s JOIN pg_foreign_data_wrapper f ON f.oid = srvfdw WHERE {own pg_foreign_server s.oid}

--- user mapping
SELECT format('%s on %I', CASE umuser WHEN 0 THEN 'public' ELSE {user umuser} END, srvname), (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(umoptions) o)
FROM pg_user_mapping m JOIN pg_foreign_server s ON s.oid = umserver

--- event trigger
SELECT quote_ident(evtname), concat_ws('; ', 'owner=' || {user evtowner}, evtevent::text, evtfoid::regproc::text, 'enabled=' || evtenabled::text, 'tags=' || evttags::text)
FROM pg_event_trigger t WHERE {own pg_event_trigger t.oid}

--- publication
SELECT quote_ident(pubname), concat_ws('; ', 'owner=' || {user pubowner}, ((to_jsonb(p) - '{oid,pubname,pubowner}'::text[])::text)) FROM pg_publication p

--- publication table until 14
SELECT format('%s in %I', prrelid::regclass, pubname), '' FROM pg_publication_rel r JOIN pg_publication p ON p.oid = prpubid

--- publication table from 15
SELECT format('%s in %I', prrelid::regclass, pubname), concat_ws('; ', 'where=' || pg_get_expr(prqual, prrelid),
  'columns=' || (SELECT string_agg(quote_ident(attname), ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = prrelid AND attnum = ANY (prattrs)))
FROM pg_publication_rel r JOIN pg_publication p ON p.oid = prpubid

--- publication schema from 15
SELECT format('%I in %I', nspname, pubname), '' FROM pg_publication_namespace JOIN pg_publication p ON p.oid = pnpubid JOIN pg_namespace n ON n.oid = pnnspid

--- subscription
SELECT quote_ident(subname), concat_ws('; ', 'owner=' || {user subowner}, ((to_jsonb(s) - '{oid,subname,subowner,subdbid,subskiplsn}'::text[])::text))
FROM pg_subscription s WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())

--- default privileges
SELECT format('%s of %s%s', defaclobjtype, {user defaclrole}, ' in ' || nullif(defaclnamespace, 0)::regnamespace),
  (SELECT string_agg(x::text, ' ' ORDER BY x::text COLLATE "C") FROM unnest(defaclacl) x)
FROM pg_default_acl

--- privileges on system objects
SELECT 'function ' || p.oid::regprocedure, {acl p.proacl f p.proowner} FROM pg_proc p
  LEFT JOIN pg_init_privs i ON i.classoid = 'pg_proc'::regclass AND i.objoid = p.oid AND i.objsubid = 0
WHERE NOT ({own pg_proc p.oid}) AND (p.proacl IS NOT NULL OR i.initprivs IS NOT NULL) AND {acl p.proacl f p.proowner} <> {acl i.initprivs f p.proowner}
UNION ALL SELECT 'relation ' || c.oid::regclass, {acl c.relacl r c.relowner} FROM pg_class c
  LEFT JOIN pg_init_privs i ON i.classoid = 'pg_class'::regclass AND i.objoid = c.oid AND i.objsubid = 0
WHERE NOT ({own pg_class c.oid}) AND c.relkind <> 'S' AND c.relnamespace <> 'information_schema'::regnamespace AND (c.relacl IS NOT NULL OR i.initprivs IS NOT NULL) AND {acl c.relacl r c.relowner} <> {acl i.initprivs r c.relowner}

--- comment
SELECT i.type || ' ' || i.identity, description FROM pg_description d, LATERAL pg_identify_object(classoid, objoid, objsubid) i
WHERE (objoid >= 16384 OR classoid = 'pg_namespace'::regclass AND objoid = 2200)
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = classoid AND e.objid = objoid AND e.deptype = 'e')

--- security label
SELECT i.type || ' ' || i.identity || ' ' || provider, label FROM pg_seclabel d, LATERAL pg_identify_object(classoid, objoid, objsubid) i

--- dependency on an extension
SELECT i.type || ' ' || i.identity, r.identity FROM pg_depend d, LATERAL pg_identify_object(classid, objid, objsubid) i, LATERAL pg_identify_object(refclassid, refobjid, 0) r
WHERE deptype = 'x'

--- sequence
SELECT s.seqrelid::regclass::text, concat_ws('; ', seqtypid::regtype::text, 'start=' || seqstart, 'by=' || seqincrement, 'max=' || seqmax, 'min=' || seqmin,
  'cache=' || seqcache, CASE WHEN seqcycle THEN 'cycle' END,
  'of=' || (SELECT format('%s.%I (%s)', refobjid::regclass, attname, deptype) FROM pg_depend JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
    WHERE classid = 'pg_class'::regclass AND objid = seqrelid AND refclassid = 'pg_class'::regclass AND refobjsubid > 0 AND deptype IN ('a', 'i')))
FROM pg_sequence s WHERE {own pg_class seqrelid}

--- large object
SELECT m.oid::text, concat_ws('; ', 'owner=' || {user lomowner}, 'acl=' || {acl lomacl L lomowner}, 'bytes=' || length(lo_get(m.oid)), 'md5=' || md5(lo_get(m.oid)))
FROM pg_largeobject_metadata m

--- database
SELECT 'it', concat_ws('; ', 'owner=' || {user datdba}, 'acl=' || {acl datacl d datdba}, pg_encoding_to_char(encoding), datcollate, datctype,
  'provider=' || coalesce(to_jsonb(d)->>'datlocprovider', 'c'), 'locale=' || coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale'),
  'template=' || datistemplate, 'connections=' || datallowconn, 'limit=' || datconnlimit, 'space=' || (SELECT spcname FROM pg_tablespace t WHERE t.oid = dattablespace),
  'comment=' || shobj_description(d.oid, 'pg_database'))
FROM pg_database d WHERE datname = current_database()

--- database setting
SELECT format('%s of %s', split_part(c, '=', 1), CASE setrole WHEN 0 THEN 'all' ELSE {user setrole} END), c FROM pg_db_role_setting, unnest(setconfig) c
WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())

--- global role
SELECT rolname, concat_ws('; ', (to_jsonb(r) - '{oid,rolname}'::text[])::text, 'comment=' || shobj_description(r.oid, 'pg_authid'))
FROM pg_authid r WHERE r.rolname !~ '^pg_'

--- global membership
SELECT format('%s in %s by %s', {user member}, {user roleid}, {user grantor}), (to_jsonb(m) - '{oid,roleid,member,grantor}'::text[])::text
FROM pg_auth_members m WHERE member >= 16384

--- global role setting
SELECT format('%s of %s', split_part(c, '=', 1), CASE setrole WHEN 0 THEN 'all' ELSE {user setrole} END), c FROM pg_db_role_setting, unnest(setconfig) c WHERE setdatabase = 0

--- global tablespace
SELECT quote_ident(spcname), concat_ws('; ', 'owner=' || {user spcowner}, 'acl=' || {acl spcacl t spcowner}, 'options=' || (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(spcoptions) o), 'comment=' || shobj_description(t.oid, 'pg_tablespace'))
FROM pg_tablespace t WHERE t.oid >= 16384

--- global parameter from 15
SELECT parname, (SELECT string_agg(x::text, ' ' ORDER BY x::text COLLATE "C") FROM unnest(paracl) x) FROM pg_parameter_acl

--- global security label
SELECT i.type || ' ' || i.identity || ' ' || provider, label FROM pg_shseclabel d, LATERAL pg_identify_object(classoid, objoid, 0) i
