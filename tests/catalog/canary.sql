-- A source in which everything that the policy of tests/catalog/canary.yaml does not expose is called canary.
create schema canary_schema;
create schema canary_other;
create type canary_schema.ticket_state as enum ('open', 'pending', 'closed');
create type canary_schema.canary_unused as enum ('canary_label');
create domain canary_schema.amount as numeric(12, 2) constraint canary_domain_check check (value >= 0 and 'canary' <> '');
create type canary_schema.place as (street text, zip varchar(10), kind canary_schema.ticket_state);
create table canary_schema.canary_customers (
  id bigint constraint canary_customers_key primary key,
  canary_tenant text not null,
  name varchar(40) not null,
  home canary_schema.place,
  canary_secret text default 'canary default'
);
create table canary_schema.canary_tickets (
  id bigint generated always as identity constraint canary_tickets_key primary key,
  canary_tenant text not null,
  subject text not null constraint canary_check check (subject <> 'canary'),
  state canary_schema.ticket_state not null default 'open',
  states canary_schema.ticket_state[],
  price canary_schema.amount,
  customer_id bigint constraint canary_fkey references canary_schema.canary_customers (id) on delete cascade,
  canary_link bigint,
  updated_at timestamptz(3)
);
create index canary_index on canary_schema.canary_tickets (lower(subject)) where subject <> 'canary predicate';
create table canary_other.canary_table (id int primary key, ticket bigint references canary_schema.canary_tickets (id));
create view canary_schema.canary_view as select id, canary_tenant, subject from canary_schema.canary_tickets where state = 'open';
create function canary_schema.canary_function() returns trigger language plpgsql as $$ begin return new; end $$;
create trigger canary_trigger before insert on canary_schema.canary_tickets for each row execute function canary_schema.canary_function();
create policy canary_policy on canary_schema.canary_tickets using (true);
create publication canary_publication for table canary_schema.canary_tickets;
create statistics canary_schema.canary_statistics on id, customer_id from canary_schema.canary_tickets;
create sequence canary_schema.canary_sequence;
comment on table canary_schema.canary_tickets is 'canary comment';
comment on column canary_schema.canary_tickets.subject is 'canary comment';
insert into canary_schema.canary_customers values (1, 'acme', 'Ann', ('Main St', '12345', 'open'), 'canary value');
insert into canary_schema.canary_customers values (2, 'globex', 'Bob canary', null, 'canary value');
insert into canary_schema.canary_tickets (canary_tenant, subject, state, states, price, customer_id, updated_at)
  values ('acme', 'first', 'open', '{open,closed}', 9.5, 1, '2026-01-02 03:04:05.678Z'),
         ('acme', 'second', 'closed', null, null, null, null),
         ('globex', 'canary subject', 'open', null, null, 2, null);
analyze;
do $$ begin create role canary_reader login password 'correct horse battery'; exception when duplicate_object or unique_violation then null; end $$;
grant usage on schema canary_schema to canary_reader;
grant select on canary_schema.canary_customers, canary_schema.canary_tickets, canary_schema.canary_view to canary_reader;
