"""asyncpg and types that are not built in: introspected when they are met, given codecs, read and sent."""

import asyncio
import datetime
import decimal
import os

import asyncpg
from transcript import client, step

COLUMNS = ["mood", "past", "price", "prices", "label", "home", "places", "visit", "size", "open", "opens", "spans", "feeling"]


async def rows(connection, statement, *parameters):
    prepared = await connection.prepare(statement)
    attributes = [[attribute.name, attribute.type.schema, attribute.type.name, attribute.type.kind] for attribute in prepared.get_attributes()]
    return {"described": attributes, "parameters": [parameter.name for parameter in prepared.get_parameters()], "rows": [repr(row) for row in await prepared.fetch(*parameters)]}


async def read(connection, when):
    for column in [*COLUMNS, f"id, {', '.join(COLUMNS)}"]:
        try:
            step(f"{column} {when}", **await rows(connection, f"select {column} from things order by id"))
        except asyncpg.UnsupportedClientFeatureError as error:
            step(f"{column} {when}", error=type(error).__name__)


async def sent(connection):
    morning = asyncpg.Range(datetime.time(8), datetime.time(12, 30))
    for condition, value in [
        ("mood = $1", "happy"), ("mood > $1", "sad"), ("past[1] = $1", "sad"), ("mood = any($1)", ["sad", "happy"]), ("past = $1", ["sad", None, "ok"]),
        ("price = $1", decimal.Decimal("9.50")), ("prices = $1", [decimal.Decimal("1.00"), None, decimal.Decimal("2.25")]), ("label = $1", "first"),
        ("open = $1", morning), ("open && $1", asyncpg.Range(datetime.time(11), None)), ("opens = $1", [asyncpg.Range(datetime.time(8), datetime.time(12)), asyncpg.Range(datetime.time(13), None, lower_inc=False)]),
        ("home = $1", ('Main "St", 1', 5, "ok")), ("places = $1", [("a", None, None), None]), ("visit = $1", (("b", 2, "sad"), None, ["x", None], decimal.Decimal("1.10"))),
        ("size = $1", (3, 2.5, "a,b")), ("size = $1", ("too", "few")), ("size = any($1)", [(None, 0.0, ""), None]), ("feeling = $1", asyncpg.Range("sad", "ok", upper_inc=True)), ("mood = $1", "no such mood"),
    ]:
        try:
            seen = await rows(connection, f"select id from things where {condition} order by id", value)
        except asyncpg.PostgresError as error:
            seen = {"sqlstate": error.sqlstate}
        except Exception as error:
            seen = {"error": type(error).__name__}
        step(f"where {condition}", value=repr(value), **seen)


async def codecs(connection):
    await connection.set_type_codec("mood", schema="shop", encoder=lambda value: value.lower(), decoder=lambda text: text.upper(), format="text")
    await connection.set_type_codec("size", schema="shop", encoder=tuple, decoder=list, format="tuple")
    await connection.set_type_codec("numeric", schema="pg_catalog", encoder=str, decoder=float, format="text")
    await read(connection, "by codecs")
    step("an enum by its codec", **await rows(connection, "select id, mood from things where mood = $1", "SAD"))
    step("a composite by its codec", **await rows(connection, "select id, size from things order by id"))
    for name, of in [("nowhere", "shop"), ("mood", "nowhere"), ("span", "shop"), ("price", "shop")]:
        try:
            await connection.set_type_codec(name, schema=of, encoder=str, decoder=str)
        except (ValueError, asyncpg.InterfaceError) as error:
            step(f"a codec for {of}.{name}", error=str(error))
    await connection.reset_type_codec("mood", schema="shop")
    await connection.reload_schema_state()
    step("after a reset", **await rows(connection, "select mood, past, price from things order by id"))


async def main():
    client("asyncpg, own types", asyncpg.__version__, "enums, domains, composites, ranges, arrays of them: introspected, sent; set_type_codec in text and tuples")
    connection = await asyncpg.connect(ssl=os.environ["PGSSLMODE"])
    await connection.execute("set search_path = shop")
    await read(connection, "introspected")
    await sent(connection)
    await codecs(connection)
    await connection.close()


asyncio.run(main())
