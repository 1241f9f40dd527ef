"""asyncpg (binary formats only) against whatever server libpq's environment names."""

import asyncio
import datetime
import decimal
import json
import os
import uuid

import asyncpg
from transcript import ENDLESS, ERRORS, READS, canonical, client, step


async def fails(name, awaitable):
    try:
        await awaitable
    except asyncpg.PostgresError as error:
        step(name, sqlstate=error.sqlstate)
    else:
        step(name, sqlstate=None)


def rows(records):
    return {"columns": list(records[0].keys()) if records else [], "rows": canonical([tuple(record) for record in records])}


async def reads(connection):
    for name, statement in READS.items():
        prepared = await connection.prepare(statement)
        columns = [[attribute.name, attribute.type.name] for attribute in prepared.get_attributes()]
        step(name, described=columns, **rows(await prepared.fetch()))


async def types_in(connection):
    values = {
        "int2": -7, "int4": 70000, "int8": 2**40, "float4": 0.5, "float8": 1e-300, "numeric": decimal.Decimal("-0.00000000000000000001"), "text": "žluť ' 🐎",
        "varchar(9)": "", "bool": False, "date": datetime.date(1999, 12, 31), "timestamp": datetime.datetime(2024, 2, 29, 1, 2, 3, 4),
        "timestamptz": datetime.datetime(2024, 2, 29, 1, 2, 3, 4, datetime.timezone.utc), "time": datetime.time(23, 59, 59, 999999),
        "interval": datetime.timedelta(days=-3, microseconds=7), "uuid": uuid.UUID(int=2**127), "jsonb": json.dumps({"a": [1, None]}),
        "text[]": ["", None, "a,b"], "bytea": b"\x00\xff",
    }
    for type_name, value in values.items():
        prepared = await connection.prepare(f"select $1::{type_name} as echo, $2::{type_name} as nothing, $1::{type_name} is null as absent")
        parameters = [parameter.name for parameter in prepared.get_parameters()]
        step(f"{type_name} in", parameters=parameters, **rows(await prepared.fetch(value, None)))


async def inferred(connection):
    cases = [
        ("id = $1", [11]), ("priority = any($1) and id < 60", [["low", "high"]]), ("id between $2 and $1", [14, 10]), ("tags @> $1 and id < 40", [["billing"]]),
        ("amount > $1 and id < 60", [decimal.Decimal("4000.5")]), ("created_at < $1", [datetime.datetime(2024, 1, 1, 1, tzinfo=datetime.timezone.utc)]),
        ("subject like $1 and rating = $2 and id < 200", ["%Refund%", 3]), ("meta @> $1 and id < 30", [json.dumps({"vip": False, "channel": "mail"})]),
    ]
    for condition, parameters in cases:
        prepared = await connection.prepare(f"select id, subject, amount from tickets where {condition} order by id")
        step(f"where {condition}", parameters=[parameter.name for parameter in prepared.get_parameters()], **rows(await prepared.fetch(*parameters)))


async def statements(connection):
    by_id = await connection.prepare("select id, priority from tickets where id = $1")
    by_priority = await connection.prepare("select count(*) from tickets where priority = $1")
    for number in range(6):
        step(f"two prepared statements, round {number}", row=canonical(await by_id.fetchrow(number)), count=await by_priority.fetchval(["low", "high"][number % 2]))
    for number in range(4):
        step(f"cached, round {number}", value=await connection.fetchval("select subject from tickets where id = $1", 10 * number))
    await connection.executemany("select id from tickets where id = $1", [(1,), (2,), (3,)])
    step("after executemany", value=await connection.fetchval("select 1"))
    step("status", tag=await connection.execute("select id from tickets where id < 20"))


async def portals(connection):
    async with connection.transaction(readonly=True):
        cursor = await connection.cursor("select id from tickets order by id")
        first = await cursor.fetch(3)
        second = await cursor.fetch(2)
        step("a portal in parts", first=canonical([tuple(row) for row in first]), second=canonical([tuple(row) for row in second]))
        total = 0
        async for record in connection.cursor("select id from orders where id < 500 order by id", prefetch=7):
            total += record["id"]
        step("a portal by sevens", total=total)


async def errors(connection):
    for name, statement in ERRORS.items():
        await fails(name, connection.fetch(statement))
        await fails(name + ", simple", connection.execute(statement))
    step("still there", count=await connection.fetchval("select count(*) from customers"))


async def transactions(connection):
    transaction = connection.transaction(isolation="repeatable_read", readonly=True)
    await transaction.start()
    step("in a transaction", isolation=await connection.fetchval("show transaction_isolation"), inside=connection.is_in_transaction())
    try:
        async with connection.transaction():
            await connection.fetchval("select 1 / 0")
    except asyncpg.DivisionByZeroError:
        step("savepoint rolled back", value=await connection.fetchval("select count(*) from documents"))
    await fails("an error", connection.fetchval("select internal_notes from tickets"))
    await fails("after it", connection.fetchval("select 1"))
    await transaction.rollback()
    step("after the rollback", inside=connection.is_in_transaction(), value=await connection.fetchval("select 1"))


async def canceled(connection):
    try:
        await connection.fetchval(ENDLESS, timeout=0.5)
    except asyncio.TimeoutError:
        step("canceled", by="timeout")
    step("after the cancel", value=await connection.fetchval("select 2"))


async def concurrently():
    async def one(number):
        connection = await asyncpg.connect(ssl=os.environ["PGSSLMODE"])
        try:
            return [await connection.fetchval("select subject from tickets where id = $1", number * 10 + step) for step in range(4)]
        finally:
            await connection.close()

    step("twelve connections at once", subjects=await asyncio.gather(*[one(number) for number in range(1, 13)]))


async def pooled():
    async with asyncpg.create_pool(ssl=os.environ["PGSSLMODE"], min_size=1, max_size=2) as pool:
        for number in range(3):
            # What comes back to the pool is reset by a string of several statements.
            async with pool.acquire() as connection:
                await connection.execute("set timezone to 'Asia/Tokyo'")
                step(f"pooled {number}", zone=await connection.fetchval("show timezone"))
            step(f"reset {number}", kept=await pool.fetchval("show timezone") == "Asia/Tokyo")


async def main():
    client("asyncpg", asyncpg.__version__, "types in and out, prepared statements, cursors, pool with reset, transactions, cancel, errors")
    connection = await asyncpg.connect(ssl=os.environ["PGSSLMODE"])
    for part in (reads, types_in, inferred, statements, portals, errors, transactions, canceled):
        await part(connection)
    await connection.close()
    await concurrently()
    await pooled()


asyncio.run(main())
