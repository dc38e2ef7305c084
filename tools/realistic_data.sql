-- Tables of a shop and pgark_make_data(mib, seed, part), which fills them with about `mib` MiB that compress about
-- 3.5:1 with zstd -1: identifiers and hashes that do not compress, prices and times that compress a little, and prose
-- and JSON that compress well. The same seed gives the same rows on the same PostgreSQL version. Parts may be filled by
-- several sessions at once. Used by tests, tools/make_data.sh and the benchmarks; works on PostgreSQL 10 and later.

CREATE TABLE IF NOT EXISTS customers(
  id bigint PRIMARY KEY, created_at timestamptz NOT NULL, name text NOT NULL, email text NOT NULL, password_hash text NOT NULL,
  address jsonb NOT NULL, balance numeric(12, 2) NOT NULL);

CREATE TABLE IF NOT EXISTS orders(
  id bigint PRIMARY KEY, customer_id bigint NOT NULL, placed_at timestamptz NOT NULL, status text NOT NULL,
  total numeric(12, 2) NOT NULL, reference uuid NOT NULL, note text);
CREATE INDEX IF NOT EXISTS orders_customer ON orders(customer_id);

CREATE TABLE IF NOT EXISTS events(
  id bigint PRIMARY KEY, order_id bigint NOT NULL, at timestamptz NOT NULL, session uuid NOT NULL, kind text NOT NULL,
  detail jsonb NOT NULL);

CREATE OR REPLACE FUNCTION pgark_prose(words int) RETURNS text LANGUAGE sql VOLATILE AS $$
  SELECT string_agg(
    (ARRAY['the','of','and','to','a','in','order','parcel','customer','asked','for','refund','because','size','wrong',
           'colour','arrived','late','on','monday','second','attempt','delivery','neighbour','left','at','door','invoice',
           'number','please','call','before','noon','gift','wrapping','without','price','discount','code','did','not','work',
           'exchange','blue','jacket','medium','shoes','forty','two','express','shipping','confirmed','by','phone','agent',
           'promised','voucher','next','week','damaged','box','photo','attached','warehouse','checked','stock','reserved',
           'again','thanks','regards','complaint','resolved','pending','address','changed','street','building','floor',
           'office','reception','signature','required','insurance','value','declared','customs','form','missing','returned',
           'sender','unknown','weight','kilograms','pallet','supplier','batch','expired','replacement','sent'])
      [1 + floor(power(random(), 1.6) * 98)::int], ' ')
  FROM generate_series(1, words)
$$;

CREATE OR REPLACE FUNCTION pgark_make_data(mib int, seed bigint, part int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  -- A round writes about this much; measured, indexes included.
  round_bytes constant bigint := 3320000;
  rounds constant bigint := greatest(1, mib * 1048576::bigint / round_bytes);
  base bigint := part * 1000000000::bigint;
  epoch constant timestamptz := '2024-01-01 00:00:00+00';
BEGIN
  PERFORM setseed(((seed + part * 7919) % 100000) / 100000.0);
  FOR i IN 1..rounds LOOP
    INSERT INTO customers
      SELECT base + n, epoch + n * interval '31 seconds' + random() * interval '30 seconds',
             initcap(pgark_prose(2)), md5(random()::text) || '@example.com', md5(random()::text) || md5(random()::text),
             jsonb_build_object('street', pgark_prose(2) || ' ' || floor(random() * 200)::int, 'city', pgark_prose(1),
                                'zip', lpad(floor(random() * 100000)::int::text, 5, '0'), 'country', 'DE'),
             (random() * 1000)::numeric(12, 2)
      FROM generate_series((i - 1) * 1000 + 1, i * 1000) n;
    INSERT INTO orders
      SELECT base + n, base + (i - 1) * 1000 + 1 + floor(random() * 1000)::bigint, epoch + n * interval '6 seconds',
             (ARRAY['new','paid','packed','shipped','delivered','returned'])[1 + floor(random() * 6)::int],
             (random() * 500)::numeric(12, 2), md5(random()::text)::uuid,
             CASE WHEN random() < 0.4 THEN pgark_prose(12 + floor(random() * 30)::int) END
      FROM generate_series((i - 1) * 5000 + 1, i * 5000) n;
    INSERT INTO events
      SELECT base + n, base + (i - 1) * 5000 + 1 + (n % 5000), epoch + n * interval '2 seconds', md5(random()::text)::uuid,
             (ARRAY['view','click','cart','pay','mail','scan'])[1 + floor(random() * 6)::int],
             jsonb_build_object('agent', 'Mozilla/5.0 (X11; Linux x86_64; rv:' || 90 + n % 40 || '.0) Gecko/20100101',
                                'ip', '10.' || n % 256 || '.' || floor(random() * 256)::int || '.' || floor(random() * 256)::int,
                                'took_ms', floor(random() * 900)::int, 'path', '/shop/item/' || floor(random() * 100000)::int,
                                'token', md5(random()::text))
      FROM generate_series((i - 1) * 7000 + 1, i * 7000) n;
  END LOOP;
  RETURN rounds;
END $$;
