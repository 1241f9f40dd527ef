"""psycopg2 against whatever server libpq's environment names."""

import datetime
import decimal
import io
import threading
import uuid

import psycopg2
import psycopg2.extras
from transcript import ENDLESS, ERRORS, READS, canonical, client, step


def rows(cursor):
    return {"columns": [column.name for column in cursor.description], "rows": canonical(cursor.fetchall()), "tag": cursor.statusmessage}


def fails(name, connection, statement):
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    except psycopg2.Error as error:
        step(name, sqlstate=error.pgcode, kind=type(error).__mro__[1].__name__)
    else:
        step(name, sqlstate=None)
    connection.rollback()


def values(connection):
    """What is written into the statement by the driver, and read back."""
    psycopg2.extras.register_uuid()
    for value in [
        None, True, 7, -(2**40), 1.25, decimal.Decimal("-0.010"), "it's 'žluť' \\ %", b"\x00\xff", datetime.date(2024, 2, 29), datetime.time(1, 2, 3), uuid.UUID(int=5),
        datetime.datetime(2024, 2, 29, 1, 2, 3, 4, datetime.timezone.utc), datetime.timedelta(days=3, seconds=5), [1, None, 3], ["a,b", '"'], psycopg2.extras.Json({"a": [1, None]}),
        psycopg2.extras.NumericRange(1, 5), psycopg2.extras.DateTimeTZRange(None, datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)), psycopg2.extras.Inet("10.0.0.1"),
    ]:
        with connection.cursor() as cursor:
            cursor.execute("select %s as echo", (value,))
            step("a value in", sent=cursor.mogrify("%s", (value,)).decode(), seen=[repr(canonical(item)) for item in cursor.fetchone()])
    connection.commit()


def cursors(connection):
    for kind in (psycopg2.extras.DictCursor, psycopg2.extras.RealDictCursor, psycopg2.extras.NamedTupleCursor):
        with connection.cursor(cursor_factory=kind) as cursor:
            cursor.execute("select id, subject, tags from tickets where id < 5 order by id")
            for row in cursor:
                step(kind.__name__, row=repr(row))
    with connection.cursor() as cursor:
        cursor.executemany("select id from tickets where id = %s", [(1,), (2,)])
        step("executemany", rowcount=cursor.rowcount, tag=cursor.statusmessage)
        psycopg2.extras.execute_batch(cursor, "select id from tickets where id = %s", [(1,), (2,), (3,)], page_size=2)
        step("execute_batch", **rows(cursor))
    connection.commit()
    with connection.cursor("walked") as cursor:
        cursor.itersize = 3
        cursor.execute("select id from tickets where id < 30 order by id")
        for row in cursor:
            step("a named cursor's row", row=canonical(row))
    connection.commit()


def blocks(connection):
    """Transactions as programs write them."""
    with connection, connection.cursor() as cursor:
        cursor.execute("savepoint a")
        try:
            cursor.execute("select 1 / 0")
        except psycopg2.Error as error:
            step("an error behind a savepoint", sqlstate=error.pgcode)
        cursor.execute("rollback to savepoint a")
        cursor.execute("select count(*) from documents")
        step("after the savepoint", **rows(cursor))
    step("after the block", status=connection.get_transaction_status())
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("select id from tickets where id = %(id)s", {"id": 12})
        step("autocommit", status=connection.get_transaction_status(), **rows(cursor))
    connection.autocommit = False


def canceled(connection):
    timer = threading.Timer(0.5, connection.cancel)
    timer.start()
    fails("canceled", connection, ENDLESS)
    timer.join()
    with connection.cursor() as cursor:
        cursor.execute("select 5")
        step("after the cancel", **rows(cursor))


def main():
    client("psycopg2", psycopg2.__version__.split()[0], "types in and out, cursor classes, named cursors (WITH HOLD, too), COPY out, execute_values, savepoints, cancel, transactions, errors")
    connection = psycopg2.connect("")
    for name, statement in READS.items():
        with connection.cursor() as cursor:
            cursor.execute(statement)
            step(name, **rows(cursor))
    connection.commit()
    for condition, parameters in [
        ("id = %s", (11,)), ("id in %s", ((1, 2, 3),)), ("id = any(%s)", ([1, 2, 3],)), ("amount > %s and id < 60", (decimal.Decimal("10.5"),)),
        ("created_at < %s and id < 40", (datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),)), ("subject like %s and id < 60", ("%Refund%",)),
    ]:
        with connection.cursor(cursor_factory=psycopg2.extras.DictCursor) as cursor:
            cursor.execute(f"select id, subject from tickets where {condition} order by id", parameters)
            step(f"where {condition}", **rows(cursor))
    values(connection)
    cursors(connection)
    with connection.cursor("named", scrollable=True) as cursor:
        cursor.itersize = 7
        cursor.execute("select id, subject from tickets where id < 60 order by id")
        step("named cursor", first=canonical(cursor.fetchone()), many=canonical(cursor.fetchmany(5)))
        cursor.scroll(3)
        step("after a scroll", rest=canonical(cursor.fetchall()))
    connection.commit()
    held = connection.cursor("held", withhold=True)
    held.itersize = 3
    held.execute("select id, subject from tickets where id < 30 order by id")
    connection.commit()
    step("held over COMMIT", rest=canonical([held.fetchone(), *held]))
    held.close()
    connection.commit()
    connection.autocommit = True
    with connection.cursor("alone", withhold=True) as cursor:
        cursor.itersize = 4
        cursor.execute("select id from tickets where id < 30 order by id")
        step("held in autocommit", rows=canonical(list(cursor)))
    connection.autocommit = False
    for statement in [
        "copy (select id, subject, amount, tags from tickets where id < 40 order by id) to stdout",
        "copy (select id, subject from tickets where id < 20 order by id) to stdout with (format csv, header, delimiter ';')",
    ]:
        with connection.cursor() as cursor:
            out = io.StringIO()
            cursor.copy_expert(statement, out)
            step(statement, text=out.getvalue())
    connection.commit()
    with connection.cursor() as cursor:
        cursor.execute("select 1 as a; select id from tickets where id = 12")
        step("two statements in one string", **rows(cursor))
    connection.commit()
    for name, statement in ERRORS.items():
        fails(name, connection, statement)
    try:
        with connection.cursor() as cursor:
            psycopg2.extras.execute_values(cursor, "insert into tickets (id, subject) values %s", [(900001, "one"), (900002, "two")])
    except psycopg2.Error as error:
        step("execute_values", sqlstate=error.pgcode)
    step("the connection is in a failed transaction", status=connection.get_transaction_status())
    connection.rollback()
    blocks(connection)
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True, autocommit=False)
    with connection.cursor() as cursor:
        cursor.execute("show transaction_isolation")
        step("isolation", **rows(cursor))
    connection.reset()
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from tickets where id < 100")
        step("after reset", **rows(cursor))
    canceled(connection)
    connection.close()


main()
