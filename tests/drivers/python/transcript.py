"""What a client saw, in a form that two servers can be compared by: one JSON line a step."""

import datetime
import decimal
import json
import uuid


def canonical(value):
    """A value with its Python type, so that 1, 1.0, '1' and Decimal('1.0') stay apart."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    if isinstance(value, dict):
        return {key: canonical(value[key]) for key in sorted(value)}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "bytes " + bytes(value).hex()
    if isinstance(value, (int, float, decimal.Decimal, uuid.UUID, datetime.date, datetime.time, datetime.timedelta)):
        return f"{type(value).__name__} {value!s}"
    return f"{type(value).__name__} {value!r}"


def step(name, **seen):
    print(json.dumps({"step": name, **seen}, ensure_ascii=False), flush=True)


def client(name, version, driven):
    """Which client this is, for docs/CLIENTS.md."""
    step("client", client=name, version=version, driven=driven)


# The statements both Python drivers run, `{}` standing for a parameter of either spelling.

READS = {
    "every ticket column": "select id, subject, status::text as status, priority, customer_id, assignee, rating, amount, tags, meta, public_id, secret,"
    " created_at, updated_at from external_support.tickets where id <= 24 order by id",
    "every customer column": "select * from customers where id < 30 order by id",
    "every order column": "select * from orders where id < 24 order by id",
    "every document column": "select * from documents where id < 14 order by id",
    "an enum in its order": "select status::text from (select distinct status from tickets) as s order by s.status",
    "no rows": "select id, subject from tickets where id = -1",
    "no columns": "select from tickets where id in (1, 2)",
    "empty and NULL": "select '' as empty, null as nothing, array[]::text[] as no_items, array['', null] as items, ''::bytea as no_bytes",
    "integers": "select (-32768)::int2, 2147483647::int4, (-9223372036854775808)::int8, null::int2, null::int8",
    "floats": "select 1.5::float4, 'NaN'::float4, 2.5e300::float8, '-Infinity'::float8, (-0.0)::float8, null::float8",
    "numerics": "select 0.00::numeric, 123456789012345678901234567890.123456789::numeric, 'NaN'::numeric, (-1e-20)::numeric, 5::numeric(10, 3)",
    "texts": "select 'žluťoučký kůň 🐎'::text, E'tab\\t quote'' backslash\\\\ newline\\n'::varchar(80), 'ab'::char(5), 'n'::name",
    "booleans": "select true, false, null::bool",
    "dates and times": "select date '2024-02-29', timestamp '2024-02-29 23:59:59.999999', timestamptz '2024-02-29 23:59:59.999999+05:30',"
    " time '12:34:56.789', null::date",
    "intervals": "select interval '1 day 02:03:04.000005', interval '-3 hours', interval '0', null::interval",
    "documents": """select '{"a": [1, 2.50, null, {"b": "\\u00e9"}], "": true}'::jsonb, '[1,  2]'::json, 'null'::jsonb, null::jsonb""",
    "identifiers": "select '00000000-0000-0000-0000-000000000000'::uuid, public_id from tickets where id = 1",
    "arrays": "select array[1, null, 3]::int4[], array[[1, 2], [3, 4]]::int8[], '{}'::int4[], array[1.5, null]::numeric[], array['a', 'b,c', '{}', '\"']::text[],"
    " array['00000000-0000-0000-0000-000000000001']::uuid[], array[date '2024-01-01', null], array[true, null], array['\\x01'::bytea]",
    "bytes": "select '\\x00ff10'::bytea, null::bytea",
}

# SQLSTATEs, each of a statement that PostgreSQL itself refuses in a read-only session that sees only these relations.
ERRORS = {
    "a hidden column": "select internal_notes from tickets",
    "a tenant column that is not exposed": "select tenant_id from tickets",
    "a relation that is nowhere": "select * from invoices",
    "a relation of no schema of ours": "select * from private_schema.tickets",
    "a schema-qualified real name": "select * from public.tickets",
    "syntax": "selekt 1",
    "an unknown function": "select no_such_function(id) from tickets where id = 1",
    "division by zero": "select 1 / (id - 1) from tickets where id = 1",
    "a text that is no integer": "select subject::int from tickets where id = 1",
    "an overflow": "select (id + 2147483646)::int4 from tickets where id = 4",
    "a bad regular expression": "select subject ~ '(' from tickets where id = 1",
    "an update": "update tickets set priority = 'high' where id = 42",
    "a delete": "delete from tickets where id = 1",
    "an insert": "insert into documents (id, title, kind, revision, body) values (100000, 't', 'faq', 1, 'b')",
    "a write in a CTE": "with gone as (delete from tickets where id = 1 returning id) select * from gone",
}

# The server works on this for minutes.
ENDLESS = "select count(*) from tickets a, tickets b, tickets c where a.amount + b.amount + c.amount = 1"
