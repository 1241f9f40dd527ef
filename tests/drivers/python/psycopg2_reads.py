"""psycopg2 against whatever server libpq's environment names."""

import datetime
import decimal
import io

import psycopg2
import psycopg2.extras
from transcript import ERRORS, READS, canonical, client, step


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


def main():
    client("psycopg2", psycopg2.__version__.split()[0], "types, parameters, named cursors (WITH HOLD, too), COPY out, execute_values, transactions, errors")
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
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True, autocommit=False)
    with connection.cursor() as cursor:
        cursor.execute("show transaction_isolation")
        step("isolation", **rows(cursor))
    connection.reset()
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from tickets where id < 100")
        step("after reset", **rows(cursor))
    connection.close()


main()
