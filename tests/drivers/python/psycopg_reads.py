"""psycopg 3 against whatever server libpq's environment names. Argument: text or binary, the format of results."""

import datetime
import decimal
import sys
import threading
import uuid

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row
from psycopg.types.json import Json, Jsonb
from transcript import ENDLESS, ERRORS, READS, canonical, client, step

BINARY = sys.argv[1] == "binary"


def connect(**options):
    connection = psycopg.connect(autocommit=True, row_factory=tuple_row, **options)
    connection.adapters.register_loader("jsonb", psycopg.types.json.JsonbBinaryLoader if BINARY else psycopg.types.json.JsonbLoader)
    return connection


def rows(cursor):
    return {"columns": [column.name for column in cursor.description], "rows": canonical(cursor.fetchall()), "tag": cursor.statusmessage}


def fails(name, action):
    try:
        action()
    except psycopg.Error as error:
        step(name, sqlstate=error.sqlstate)
    else:
        step(name, sqlstate=None)


def types_out(connection):
    for name, statement in READS.items():
        with connection.cursor(binary=BINARY) as cursor:
            step(name, **rows(cursor.execute(statement)))


def types_in(connection):
    values = {
        "int2": 7, "int4": 70000, "int8": -(2**40), "float8": 1.25, "numeric": decimal.Decimal("12345678901234567890.5"), "text": "žluť ' \\ 🐎",
        "varchar": "", "bool": True, "date": datetime.date(2024, 2, 29),
        "timestamptz": datetime.datetime(2024, 2, 29, 1, 2, 3, 4, datetime.timezone.utc),
        "interval": datetime.timedelta(days=3, seconds=5, microseconds=6), "uuid": uuid.UUID(int=5), "jsonb": Jsonb({"a": [1, None, "é"]}),
        "json": Json([1, {"b": None}]), "int4[]": [1, None, 3], "text[]": ["", None, "a,b", '"'], "numeric[]": [decimal.Decimal("1.10")], "bytea": b"\x00\xff\\",
    }
    for type_name, value in values.items():
        echo = sql.SQL("select {}::" + type_name + " as echo, {}::" + type_name + " is null as absent, {}::" + type_name + " as nothing")
        for marker in ("%s", "%t", "%b"):
            with connection.cursor(binary=BINARY) as cursor:
                statement = echo.format(*[sql.SQL(marker)] * 3)
                step(f"{type_name} in by {marker}", **rows(cursor.execute(statement, (value, value, None))))


def where(connection):
    cases = [
        ("id = %s", (11,)), ("id = any(%s)", ([1, 2, 3],)), ("status = %s and id < 40", ("open",)), ("tags @> %s::text[] and id < 40", (["billing"],)),
        ("meta->>'channel' = %s and id < 40", ("chat",)), ("amount between %s and %s and id < 100", (decimal.Decimal("10"), decimal.Decimal("2000"))),
        ("created_at < %s and assignee is null", (datetime.datetime(2024, 1, 1, 3, tzinfo=datetime.timezone.utc),)),
        ("subject like %s and id < 60", ("%Refund%",)), ("rating in (%s, %s) and id < 30", (1, 5)), ("id = %s or id is null and %s::text is null", (3, None)),
        ("public_id = %s", (connection.execute("select public_id from tickets where id = 12").fetchone()[0],)),
    ]
    for condition, parameters in cases:
        with connection.cursor(binary=BINARY) as cursor:
            step(f"where {condition}", **rows(cursor.execute(f"select id, subject from tickets where {condition} order by id", parameters)))


def prepared(connection):
    for round in range(7):
        with connection.cursor(binary=BINARY) as cursor:
            cursor.execute("select id, status::text, amount from tickets where id = %s", (round,), prepare=True)
            step(f"prepared, round {round}", **rows(cursor))
    with connection.cursor() as cursor:
        cursor.executemany("select %s::int4 + 1", [(1,), (2,), (3,)], returning=True)
        step("executemany", first=canonical(cursor.fetchall()))
    connection.execute("deallocate all")
    step("after deallocate", **rows(connection.execute("select id from tickets where id = %s", (2,), prepare=True)))


def pipelined(connection):
    with connection.pipeline():
        cursors = [connection.execute("select id, subject from tickets where id = %s", (number,)) for number in (1, 2, 3, 4, 10)]
        step("pipeline", rows=[canonical(cursor.fetchall()) for cursor in cursors])
    try:
        with connection.pipeline() as pipeline:
            before = connection.execute("select 1")
            connection.execute("select internal_notes from tickets")
            connection.execute("select 2")
            pipeline.sync()
    except psycopg.Error as error:
        step("an error in a pipeline", sqlstate=error.sqlstate, before=before.statusmessage)
    step("after the pipeline", **rows(connection.execute("select 3")))


def errors(connection):
    for name, statement in ERRORS.items():
        fails(name, lambda: connection.execute(statement))
        fails(name + ", prepared", lambda: connection.execute(statement, prepare=True))
    fails("a parameter of the wrong type", lambda: connection.execute("select id from tickets where id = %s", ("x",)))
    step("still there", **rows(connection.execute("select count(*) from tickets")))


def status(connection):
    return connection.info.transaction_status.name


def transactions(connection):
    seen = [status(connection)]
    connection.execute("begin isolation level repeatable read, read only")
    seen += [status(connection), connection.execute("show transaction_isolation").fetchone()[0], connection.execute("show transaction_read_only").fetchone()[0]]
    connection.execute("savepoint a")
    fails("an error in a transaction", lambda: connection.execute("select 1/0"))
    seen.append(status(connection))
    fails("after an error in a transaction", lambda: connection.execute("select 1"))
    connection.execute("rollback to savepoint a")
    seen += [status(connection), connection.execute("select count(*) from tickets").fetchone()[0]]
    connection.execute("release savepoint a")
    seen += [connection.execute("commit").statusmessage, status(connection)]
    connection.execute("begin")
    fails("a hidden column in a transaction", lambda: connection.execute("select internal_notes from tickets"))
    fails("25P02", lambda: connection.execute("select 1"))
    seen += [status(connection), connection.execute("commit").statusmessage, status(connection)]
    step("transactions", seen=canonical(seen))
    connection.autocommit = False
    connection.read_only = True
    connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    with connection.transaction():
        step("a driver's own transaction", isolation=connection.execute("show transaction_isolation").fetchone()[0], count=connection.execute("select count(*) from orders").fetchone()[0])
        with connection.transaction():
            fails("a driver's savepoint", lambda: connection.execute("select 1/0"))
            raise psycopg.Rollback
    connection.rollback()
    connection.autocommit = True


def canceled(connection):
    timer = threading.Timer(0.5, connection.cancel_safe)
    timer.start()
    fails("canceled", lambda: connection.execute(ENDLESS))
    timer.join()
    step("after the cancel", **rows(connection.execute("select 4")))


def refused_logins():
    for name, options in {"a wrong password": {"password": "wrong"}, "an unknown user": {"user": "nobody_at_all"}}.items():
        try:
            psycopg.connect(**options).close()
            step(name, refused=False)
        except psycopg.OperationalError as error:
            step(name, refused="password authentication failed" in str(error))


def server_cursors(connection):
    with connection.transaction(), connection.cursor("named", binary=BINARY) as cursor:
        cursor.itersize = 5
        cursor.execute("select id, subject from tickets where id < %s order by id", (40,))
        step("named cursor", rows=canonical(list(cursor)))
    with connection.transaction(), connection.cursor("scrolls", binary=BINARY, scrollable=True) as cursor:
        cursor.execute("select id from tickets where id < 40 order by id")
        first = cursor.fetchmany(3)
        cursor.scroll(2)
        step("scrolled", first=canonical(first), then=canonical(cursor.fetchone()))


def held_cursors(connection):
    with connection.cursor("held", binary=BINARY, withhold=True) as cursor:
        cursor.itersize = 4
        cursor.execute("select id, subject, amount from tickets where id < %s order by id", (40,))
        step("held outside a block", columns=[column.name for column in cursor.description], rows=canonical(list(cursor)))
    cursor = connection.cursor("survives", binary=BINARY, scrollable=True, withhold=True)
    with connection.transaction():
        cursor.execute("select id from tickets where id < 40 order by id")
        step("within", rows=canonical(cursor.fetchmany(2)))
    step("after COMMIT", rows=canonical(cursor.fetchmany(2)), other=canonical(connection.execute("select count(*) from tickets where id < 9").fetchone()))
    cursor.scroll(0, mode="absolute")
    with connection.transaction():
        step("in another block", rows=canonical(cursor.fetchall()))
    stolen = connection.cursor("survives", binary=BINARY)
    connection.execute("move absolute 1 in survives")
    step("by its name", rows=canonical(stolen.fetchmany(2)))
    cursor.close()
    fails("closed", lambda: connection.execute("fetch survives"))
    rolled = connection.cursor("rolled", withhold=True)
    try:
        with connection.transaction():
            rolled.execute("select id from tickets")
            raise psycopg.Rollback
    except psycopg.Error as error:
        step("rollback", sqlstate=error.sqlstate)
    fails("rolled back", lambda: rolled.fetchone())
    failing = connection.cursor("failing", withhold=True)
    fails("fails when held", lambda: failing.execute("select 1 / (id - id) from tickets"))
    fails("never held", lambda: connection.execute("fetch failing"))


def copied_out(connection):
    with connection.cursor() as cursor, cursor.copy("copy (select id, subject, amount, tags from tickets where id < 30 order by id) to stdout") as copy:
        step("copy as text", rows=canonical(list(copy.rows())))
    with connection.cursor() as cursor, cursor.copy("copy (select id, subject from tickets where id < 30 order by id) to stdout (format binary)") as copy:
        copy.set_types(["int8", "text"])
        step("copy in binary", rows=canonical(list(copy.rows())))


client(f"psycopg 3, {sys.argv[1]} results", psycopg.__version__, "types in and out, prepared statements, pipelines, server cursors (WITH HOLD, too), COPY out, transactions, cancel, errors")
with connect() as connection:
    for part in (types_out, types_in, where, prepared, pipelined, server_cursors, held_cursors, copied_out, errors, transactions, canceled):
        part(connection)
    refused_logins()
