"""psycopg 3 and types that are not built in: fetched from the catalog by name, registered, read and sent. Argument: text or binary."""

import datetime
import decimal
import enum
import sys

import psycopg
from psycopg.types import TypeInfo
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.multirange import Multirange, MultirangeInfo, register_multirange
from psycopg.types.range import Range, RangeInfo, register_range
from transcript import client, step

BINARY = sys.argv[1] == "binary"
MARK = "%b" if BINARY else "%t"


class Mood(enum.Enum):
    sad = "sad"
    ok = "ok"
    happy = "happy"


COLUMNS = ["mood", "past", "price", "prices", "label", "home", "places", "visit", "size", "open", "opens", "spans", "feeling"]


def rows(connection, statement, parameters=()):
    with connection.cursor(binary=BINARY) as cursor:
        cursor.execute(statement, parameters)
        return {"types": [column.type_code for column in cursor.description], "rows": [repr(row) for row in cursor.fetchall()]}


def read(connection, when):
    for column in COLUMNS:
        for name, seen in enumerate(rows(connection, f"select {column} from things order by id")["rows"]):
            step(f"{column} {when}, row {name + 1}", value=seen)
    step(f"all {when}", **rows(connection, f"select {', '.join(COLUMNS)} from things order by id"))


def fetched(connection):
    infos = {}
    for kind, names in {
        EnumInfo: ["mood", "shop.mood"], CompositeInfo: ["place", "shop.visit", "size"], RangeInfo: ["span", "shop.moods"], MultirangeInfo: ["spans"],
        TypeInfo: ["price", "shop.label", "mood", "place", "span", "int4", "numeric"],
    }.items():
        for name in [*names, "nothing_of_this_name"]:
            info = kind.fetch(connection, name)
            seen = vars(info) if info else {}
            step(f"{kind.__name__}.fetch {name}", found={key: str(value) for key, value in sorted(seen.items()) if key != "typemod"})
            infos[kind, name] = info
    return infos


def register(connection, infos):
    register_enum(infos[EnumInfo, "shop.mood"], connection, Mood)
    infos[TypeInfo, "price"].register(connection)
    infos[TypeInfo, "shop.label"].register(connection)
    for name in ("place", "shop.visit", "size"):
        register_composite(infos[CompositeInfo, name], connection)
    for name in ("span", "shop.moods"):
        register_range(infos[RangeInfo, name], connection)
    register_multirange(infos[MultirangeInfo, "spans"], connection)


def sent(connection, infos):
    place = infos[CompositeInfo, "place"].python_type
    visit = infos[CompositeInfo, "shop.visit"].python_type
    size = infos[CompositeInfo, "size"].python_type
    morning = Range(datetime.time(8), datetime.time(12, 30))
    for condition, value in [
        ("mood = {}", Mood.happy), ("mood > {}", Mood.sad), ("past[1] = {}", Mood.sad), ("mood = any({})", [Mood.sad, Mood.happy]), ("past = {}", [Mood.sad, None, Mood.ok]),
        ("price = {}", decimal.Decimal("9.50")), ("label = {}", "first"), ("open = {}", morning), ("open && {}", Range(datetime.time(11), None)),
        ("open @> {}::time", datetime.time(9)), ("opens = {}", Multirange([Range(datetime.time(8), datetime.time(12)), Range(datetime.time(13), None, "()")])),
        ("home = {}", place('Main "St", 1', 5, Mood.ok)), ("visit = {}", visit(place("b", 2, Mood.sad), None, ["x", None], decimal.Decimal("1.10"))),
        ("size = {}", size(3, 2.5, "a,b")), ("size = any({})", [size(None, 0.0, ""), None]), ("feeling = {}", Range(Mood.sad, Mood.ok, "[]")),
    ]:
        try:
            seen = rows(connection, f"select id from things where {condition.format(MARK)} order by id", (value,))
        except psycopg.Error as error:
            seen = {"sqlstate": error.sqlstate, "type": type(error).__name__}
            connection.rollback()
        step(f"where {condition}", value=repr(value), **seen)


client(f"psycopg 3, {sys.argv[1]}, own types", psycopg.__version__, "TypeInfo, EnumInfo, CompositeInfo, RangeInfo, MultirangeInfo: fetched, registered, read, sent; enums, domains, composites, ranges, arrays of them")
with psycopg.connect(autocommit=True) as connection:
    connection.execute("set search_path = shop")
    read(connection, "before")
    infos = fetched(connection)
    register(connection, infos)
    read(connection, "registered")
    sent(connection, infos)
