-- psql 15 against whatever server libpq's environment names. Run with -X -a: what is typed, then what it printed.
\set VERBOSITY sqlstate
\pset null '(null)'

select id, subject, status, priority, amount, tags, meta, public_id, created_at from external_support.tickets where id <= 11 order by id;
select * from customers where id < 12 order by id;
select * from orders where id < 12 order by id;
select id, title, kind, revision, published_on, labels, length(body) from documents where id < 14 order by id;
select * from documents limit 0;
select count(*), status from tickets group by status order by status;
select '' as empty, null as nothing, array['', null] as items;

-- every output format
\pset format csv
select id, subject, tags from tickets where id in (3, 4, 11) order by id;
\pset format unaligned
select id, coupon, delivery, receipt, lines from orders where id in (1, 2, 3) order by id;
\x on
select * from tickets where id = 1;
\x off
\pset format aligned

-- psql's own ways to run a statement
select id, subject from tickets where id = 2 \gset ticket_
\echo :ticket_id :ticket_subject
select id, subject from tickets where id = :ticket_id \gx
select priority, rating, count(*) from tickets where rating is not null group by 1, 2 order by 1, 2 \crosstabview
select format('select %L as made_by_a_statement', subject) from tickets where id = 1 \gexec
\echo :ROW_COUNT :SQLSTATE

-- errors by SQLSTATE
select internal_notes from tickets;
select tenant_id from tickets;
select * from nowhere;
select * from public.tickets;
selekt;
select 1 / (id - 1) from tickets where id = 1;
select subject::int from tickets where id = 1;
select no_such_function(1);
update tickets set priority = 'high' where id = 42;
insert into documents (id, title, kind, revision, body) values (1, 't', 'faq', 1, 'b');
delete from tickets where id = 42;
with gone as (delete from tickets returning id) select * from gone;
\echo :LAST_ERROR_SQLSTATE :ERROR

-- transactions
begin isolation level repeatable read;
show transaction_isolation;
show transaction_read_only;
savepoint a;
select 1 / 0;
select 1;
rollback to a;
select count(*) from documents;
release a;
commit;
begin;
select internal_notes from tickets;
select 1;
commit;
start transaction read only;
rollback;

-- session settings
set timezone = 'Asia/Kolkata';
select created_at from tickets where id = 1;
set datestyle = 'German, DMY';
select created_at from tickets where id = 1;
reset datestyle;
reset timezone;
set intervalstyle = iso_8601;
select delivery from orders where id = 1;
set bytea_output = escape;
select receipt from orders where id = 1;
set extra_float_digits = 0;
select 0.1::float8 + 0.2;
discard all;
select created_at from tickets where id = 1;
select delivery from orders where id = 1;
