-- What `support_agent` must see, said a second time and without pgwicket: PostgreSQL's own means.
-- Keep the columns in step with policies/support.yaml.
--
-- psql -v tenant=acme -v mode=rls|copy|plain -v password=…
--   rls   a role with row-level security and column grants on the real tables, behind views of the alias names
--   plain views that filter by tenant and nothing more: what leaks without a fence
--   copy  tables of the alias names that hold the tenant's rows and nothing else; the real tables are dropped

\set ON_ERROR_STOP on
set client_min_messages = warning;
select not exists (select from pg_roles where rolname = 'support_agent') as absent \gset
\if :absent
  create role support_agent login;
\endif
alter role support_agent password :'password';
create schema external_support;
grant usage on schema external_support to support_agent;

select :'mode' = 'rls' as rls, :'mode' = 'plain' as plain \gset
\if :rls
  \set relation 'view'
  \set options 'with (security_invoker = true)'
  \set rows ''
  \set live_rows ''
\elif :plain
  \set relation 'view'
  \set options ''
  -- dear enough for the planner to try everything else first
  create function public.visible(tenant_id text, tenant text, deleted_at timestamptz default null) returns boolean
    language plpgsql immutable cost 10000 as 'begin return tenant_id = tenant and deleted_at is null; end';
  \set rows 'where public.visible(tenant_id, :''tenant'')'
  \set live_rows 'where public.visible(tenant_id, :''tenant'', deleted_at)'
\else
  \set relation 'table'
  \set options ''
  \set rows 'where tenant_id = :''tenant'' order by id'
  \set live_rows 'where tenant_id = :''tenant'' and deleted_at is null order by id'
\endif

create :relation external_support.tickets :options as
  select id, subject, status, priority, customer_id, assignee, rating, amount, tags, meta, public_id, secret, created_at, updated_at
  from public.tickets :live_rows;
create :relation external_support.customers :options as
  select id, name,
         encode(sha256(convert_to(:'password' || encode(sha256(convert_to(:'password' || email::text, 'UTF8')), 'hex'), 'UTF8')), 'hex') as email,
         case when length(phone::text) > 4 then '***' || right(phone::text, 4) when phone is not null then '***' end as phone,
         company, country, plan, null::integer as credit_score, lifetime_value, created_at
  from public.customers :rows;
create :relation external_support.orders :options as
  select id, customer_id, ticket_id, placed_on, quantity, weight, total, paid, delivery, coupon, item_codes, receipt, lines
  from public.orders :rows;
create :relation external_support.documents :options as
  select id, title, kind, revision, published_on, labels, body
  from public.documents :rows;
grant select on all tables in schema external_support to support_agent;
-- Where the virtual catalog shows it.
alter type public.ticket_status set schema external_support;

\if :rls
  alter table public.tickets enable row level security;
  alter table public.customers enable row level security;
  alter table public.orders enable row level security;
  alter table public.documents enable row level security;
  create policy tenant on public.tickets for select to support_agent using (tenant_id = :'tenant' and deleted_at is null);
  create policy tenant on public.customers for select to support_agent using (tenant_id = :'tenant');
  create policy tenant on public.orders for select to support_agent using (tenant_id = :'tenant');
  create policy tenant on public.documents for select to support_agent using (tenant_id = :'tenant');
  grant select (id, subject, status, priority, customer_id, assignee, rating, amount, tags, meta, public_id, secret, created_at, updated_at)
    on public.tickets to support_agent;
  grant select (id, name, email, phone, company, country, plan, lifetime_value, created_at) on public.customers to support_agent;
  grant select (id, customer_id, ticket_id, placed_on, quantity, weight, total, paid, delivery, coupon, item_codes, receipt, lines)
    on public.orders to support_agent;
  grant select (id, title, kind, revision, published_on, labels, body) on public.documents to support_agent;
\elif :plain
\else
  alter table external_support.tickets add primary key (id);
  alter table external_support.customers add primary key (id);
  alter table external_support.orders add primary key (id);
  alter table external_support.documents add primary key (id);
  -- What a policy shows of keys and NOT NULL, as the real tables have it.
  select format('alter table external_support.%I alter column %I set not null', shown.table_name, shown.column_name)
  from information_schema.columns as shown
  join information_schema.columns as real on (real.table_name, real.column_name) = (shown.table_name, shown.column_name)
  where shown.table_schema = 'external_support' and real.table_schema = 'public' and real.is_nullable = 'NO' \gexec
  alter table external_support.tickets add foreign key (customer_id) references external_support.customers not valid;
  alter table external_support.orders add foreign key (customer_id) references external_support.customers not valid;
  alter table external_support.orders add foreign key (ticket_id) references external_support.tickets not valid;
  create index on external_support.tickets (amount);
  create index on external_support.tickets (customer_id);
  drop table public.orders, public.tickets, public.customers, public.documents;
\endif
analyze;

-- The session an agent has behind pgwicket.
select format('alter role support_agent in database %I set default_transaction_read_only = on', current_database()) \gexec
select format('alter role support_agent in database %I set search_path = external_support', current_database()) \gexec
