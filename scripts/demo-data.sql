-- The support desk: three tenants (acme, globex, initech) in one schema, as a product would keep them.
-- Deterministic: the same rows on every run, no random(), no now().
--
--   psql -v tickets=200000 -v reader_password=reader -f scripts/demo-data.sql
--
-- tickets          rows in public.tickets; customers, orders and documents follow from it (default 200000)
-- reader_password  password of the role pgwicket connects as (default reader)

\set ON_ERROR_STOP on
\if :{?tickets}
\else
  \set tickets 200000
\endif
\if :{?reader_password}
\else
  \set reader_password reader
\endif
set client_min_messages = warning;
set timezone = 'UTC';

create type ticket_status as enum ('new', 'open', 'pending', 'solved', 'closed');

create table customers (
    id             bigint primary key,
    tenant_id      text not null,
    name           text not null,
    email          text not null,
    phone          text,
    company        varchar(40),
    country        char(2) not null,
    plan           text not null,
    credit_score   integer,
    lifetime_value double precision not null,
    ssn            text not null,              -- never leaves the database: no policy exposes it
    created_at     timestamptz not null
);

create table tickets (
    id             bigint primary key,
    tenant_id      text not null,
    subject        text not null,
    status         ticket_status not null default 'new',
    priority       text not null default 'normal',
    customer_id    bigint not null default 1,
    assignee       text,
    rating         smallint,
    amount         numeric(12, 2),
    tags           text[] not null default '{}',
    meta           jsonb not null default '{}',
    public_id      uuid not null default gen_random_uuid(),
    secret         text not null default '',   -- the passphrase the customer agreed on; the agent may see its own tenant's
    internal_notes text,                       -- never leaves the database: no policy exposes it
    created_at     timestamptz not null default now(),
    updated_at     timestamptz not null default now(),
    deleted_at     timestamptz
);

create table orders (
    id           bigint primary key,
    tenant_id    text not null,
    customer_id  bigint not null,
    ticket_id    bigint,
    placed_on    date not null,
    quantity     integer not null,
    weight       real not null,
    total        numeric(12, 2) not null,
    paid         boolean not null,
    delivery     interval,
    coupon       varchar(16),
    item_codes   integer[] not null,
    receipt      bytea not null,
    lines        jsonb not null,
    margin       numeric(12, 4) not null       -- never leaves the database: no policy exposes it
);

create table documents (
    id           integer primary key,
    tenant_id    text not null,
    title        text not null,
    kind         text not null,
    revision     smallint not null,
    published_on date,
    labels       text[],
    body         text not null,
    draft_notes  text                          -- never leaves the database: no policy exposes it
);

-- Half of everything is acme's, three tenths globex's, two tenths initech's.
create function pg_temp.tenant(id bigint) returns text language sql immutable as $$
    select case when id % 10 < 5 then 'acme' when id % 10 < 8 then 'globex' else 'initech' end
$$;
-- A well mixed integer below `bound`, the same for the same seed.
create function pg_temp.mix(seed bigint, bound bigint) returns bigint language sql immutable as $$
    select (hashint8(seed)::bigint & 2147483647) % bound
$$;

insert into customers
select id, pg_temp.tenant(id),
       (array['Ada','Grace','Edsger','Barbara','Donald','Radia','Alan','Margaret','Zoë','Łukasz'])[1 + pg_temp.mix(id, 10)]
         || ' ' || (array['Okafor','Lindqvist','O''Neil','Tanaka','Müller','Rossi','Haddad','Silva','Novák','Park'])[1 + pg_temp.mix(id + 7, 10)],
       'user' || id || '@' || pg_temp.tenant(id) || '.example',
       case when pg_temp.mix(id + 1, 9) > 0 then '+1-555-' || lpad((pg_temp.mix(id + 3, 9000) + 1000)::text, 4, '0') end,
       case pg_temp.mix(id + 5, 5) when 0 then null when 1 then '' else 'Company ' || pg_temp.mix(id, 400) end,
       (array['US','DE','JP','BR','IN','PL'])[1 + pg_temp.mix(id + 11, 6)],
       (array['free','team','business','enterprise'])[1 + pg_temp.mix(id + 13, 4)],
       nullif(pg_temp.mix(id + 17, 551), 0) + 299,
       pg_temp.mix(id + 19, 1000000) / 64.0,
       lpad(pg_temp.mix(id + 23, 1000)::text, 3, '0') || '-' || lpad(pg_temp.mix(id + 29, 100)::text, 2, '0') || '-' || lpad(pg_temp.mix(id + 31, 10000)::text, 4, '0'),
       timestamptz '2023-01-01 00:00:00+00' + id * interval '97 minutes'
from generate_series(1, greatest(:tickets / 40, 100)::bigint) id;

insert into tickets
select id, pg_temp.tenant(id),
       (array['Cannot sign in','Refund for order','Invoice is wrong','Feature request: dark mode','Export stops at 50%',
              'Über-slow dashboard','Password reset','"Quoted" subject, with comma','App crashes on start','Change of address'])[1 + pg_temp.mix(id, 10)]
         || ' #' || id,
       (array['new','open','pending','solved','closed'])[1 + pg_temp.mix(id + 3, 5)]::ticket_status,
       (array['low','normal','high','urgent'])[1 + pg_temp.mix(id + 5, 4)],
       -- a customer of the same tenant: the same last digit
       (id % 10) + 10 * (1 + pg_temp.mix(id / 10 + 7, greatest(:tickets / 40, 100)::bigint / 10 - 1)),
       case when pg_temp.mix(id + 9, 4) > 0 then 'agent-' || pg_temp.mix(id + 9, 24) end,
       nullif(pg_temp.mix(id + 11, 6), 0),
       case when pg_temp.mix(id + 13, 20) > 0 then pg_temp.mix(id + 13, 500000) / 100.0 end,
       case pg_temp.mix(id + 17, 4)
         when 0 then '{}'
         when 1 then array['billing']
         when 2 then array['login', 'urgent, please', null]
         else array['mobile', 'v' || pg_temp.mix(id, 9)] end,
       jsonb_build_object('channel', (array['mail','chat','phone'])[1 + pg_temp.mix(id + 19, 3)],
                          'browser', jsonb_build_object('name', (array['firefox','chrome','safari'])[1 + pg_temp.mix(id + 23, 3)],
                                                        'version', 90 + pg_temp.mix(id + 29, 40)),
                          'attempts', pg_temp.mix(id + 31, 7),
                          'vip', pg_temp.mix(id + 37, 11) = 0),
       md5('ticket ' || id)::uuid,
       (array['otter','maple','comet','amber'])[1 + pg_temp.mix(id + 41, 4)] || '-' || pg_temp.mix(id + 43, 10000),
       case when pg_temp.mix(id + 47, 3) = 0 then 'escalated: customer is behind on payments, case ' || id end,
       timestamptz '2024-01-01 00:00:00+00' + id * interval '4 minutes 13 seconds',
       timestamptz '2024-01-01 00:00:00+00' + id * interval '4 minutes 13 seconds' + pg_temp.mix(id + 53, 14400) * interval '1 minute',
       case when pg_temp.mix(id + 59, 50) = 0
            then timestamptz '2024-01-01 00:00:00+00' + id * interval '4 minutes 13 seconds' + interval '20 days' end
from generate_series(1, :tickets::bigint) id;

-- The row of the planner leak (docs/SECURITY.md): globex's, found by its amount alone, and not a valid regular expression.
update tickets set amount = 7777, secret = '(((', deleted_at = null where id = 7777;

insert into orders
select id, pg_temp.tenant(id),
       (id % 10) + 10 * (1 + pg_temp.mix(id / 10 + 3, greatest(:tickets / 40, 100)::bigint / 10 - 1)),
       case when pg_temp.mix(id + 5, 3) = 0 then (id % 10) + 10 * pg_temp.mix(id / 10 + 5, :tickets::bigint / 10 - 1) + 10 end,
       date '2024-01-01' + (id / (:tickets / 1200 + 1))::int,
       1 + pg_temp.mix(id + 7, 12),
       pg_temp.mix(id + 11, 4000) / 16.0,
       pg_temp.mix(id + 13, 900000) / 100.0,
       pg_temp.mix(id + 17, 4) > 0,
       case when pg_temp.mix(id + 19, 6) > 0 then pg_temp.mix(id + 19, 9) * interval '1 day' + pg_temp.mix(id + 23, 1440) * interval '1 minute' end,
       case pg_temp.mix(id + 29, 7) when 0 then 'WELCOME10' when 1 then '' when 2 then 'VIP' end,
       case when pg_temp.mix(id + 31, 10) = 0 then '{}' else array[pg_temp.mix(id, 900), null, pg_temp.mix(id + 37, 900)]::int[] end,
       decode(md5('receipt ' || id), 'hex'),
       jsonb_build_array(jsonb_build_object('sku', 'SKU-' || pg_temp.mix(id, 900), 'count', 1 + pg_temp.mix(id + 7, 12)), null, round(pg_temp.mix(id + 41, 100) / 8.0, 3)),
       pg_temp.mix(id + 43, 1000000) / 10000.0
from generate_series(1, greatest(:tickets / 2, 100)::bigint) id;

insert into documents
select id, pg_temp.tenant(id),
       (array['Refund policy','Service levels','Data retention','Acceptable use','Escalation guide'])[1 + pg_temp.mix(id, 5)] || ', part ' || id,
       (array['policy','guide','faq'])[1 + pg_temp.mix(id + 3, 3)],
       1 + pg_temp.mix(id + 5, 9),
       case when pg_temp.mix(id + 7, 5) > 0 then date '2023-06-01' + pg_temp.mix(id + 7, 700)::int end,
       case pg_temp.mix(id + 11, 4) when 0 then null when 1 then '{}' else array['legal', 'r' || pg_temp.mix(id, 4)] end,
       repeat('A refund is granted within 30 days of purchase when the goods come back unused. ', 1 + pg_temp.mix(id + 13, 12)::int)
         || E'\n' || 'Owner: ' || pg_temp.tenant(id) || E'. §' || id,
       'reviewed by counsel, margin note ' || id
from generate_series(1, 600::bigint) id;

alter table tickets add foreign key (customer_id) references customers (id);
alter table orders add foreign key (customer_id) references customers (id);
alter table orders add foreign key (ticket_id) references tickets (id);
create index on customers (tenant_id);
create index on tickets (tenant_id, created_at);
create index on tickets (amount);
create index on tickets (customer_id);
create unique index on tickets (public_id);
create index on orders (customer_id);
create index on orders (ticket_id);
create index on orders (tenant_id, placed_on);
create index on documents (tenant_id);

-- The role that pgwicket connects as: it can read these tables and nothing else.
select not exists (select from pg_roles where rolname = 'pgwicket_reader') as absent \gset
\if :absent
  create role pgwicket_reader login;
\endif
alter role pgwicket_reader password :'reader_password';
revoke create on schema public from public;
grant usage on schema public to pgwicket_reader;
grant select on customers, tickets, orders, documents to pgwicket_reader;
analyze customers, tickets, orders, documents;
