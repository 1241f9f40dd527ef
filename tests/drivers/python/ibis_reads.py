"""ibis against whatever server libpq's environment names: expressions over tables of a schema, compiled to SQL by ibis itself."""

import os

import ibis
import psycopg
from transcript import canonical, client, step

LOGIN = {"host": os.environ["PGHOST"], "port": int(os.environ["PGPORT"]), "user": os.environ["PGUSER"], "database": os.environ["PGDATABASE"]}


def connected(**more):
    return ibis.postgres.connect(password=os.environ["PGPASSWORD"], **LOGIN, **more)


def rows(name, expression):
    found = expression.to_pyarrow().to_pylist()
    step(name, count=len(found))
    for row in found:
        step(name, row=canonical(row))


def look(connection):
    step("tables", tables=sorted(connection.list_tables(database="external_support")))
    step("where", database=connection.current_database, catalog=connection.current_catalog == LOGIN["database"])
    for table in ("customers", "orders", "documents"):
        schema = connection.get_schema(table, database="external_support")
        step(f"schema of {table}", columns=[[name, str(kind)] for name, kind in schema.items()])


def read(connection):
    tickets = connection.table("tickets", database="external_support")
    customers = connection.table("customers", database="external_support")
    orders = connection.table("orders", database="external_support")
    step("count", count=int(tickets.count().execute()))
    rows("filter", tickets.filter(tickets.id < 12).select("id", "subject", "priority", "amount", "created_at", "tags").order_by("id"))
    rows("group", tickets.group_by("priority").aggregate(total=tickets.amount.sum(), count=tickets.count()).order_by("priority"))
    joined = customers.join(orders, customers.id == orders.customer_id).select(customers.name, orders.id, orders.total)
    rows("join", joined.order_by(ibis.desc("total"), "id").limit(8))
    numbered = tickets.mutate(place=ibis.row_number().over(ibis.window(group_by="priority", order_by="id")))
    rows("window", numbered.filter(lambda each: each.place < 3).select("id", "priority", "place").order_by("id"))
    rows("texts", tickets.filter(tickets.id < 8).select("id", upper=tickets.subject.upper(), size=tickets.subject.length()).order_by("id"))
    rows("times", tickets.filter(tickets.id < 8).select("id", year=tickets.created_at.year(), day=tickets.created_at.truncate("D")).order_by("id"))
    rows("unnest", tickets.filter(tickets.id < 8).select("id", tag=tickets.tags.unnest()).order_by("id", "tag"))
    rows("top", tickets.priority.topk(2).order_by("priority"))
    rows("distinct", tickets.select("priority").distinct().order_by("priority"))
    size = ibis.cases((tickets.amount > 100, "large"), else_="small")
    rows("cases", tickets.select(size=size).group_by("size").aggregate(count=lambda each: each.count()).order_by("size"))
    step("whole columns", customers=int(customers.name.nunique().execute()), median=str(orders.quantity.median().execute()))
    typed = {"id": "int64", "subject": "string"}
    rows("SQL with a schema", connection.sql("select id, subject from external_support.tickets where id < 5 order by id", schema=typed))
    rows("with the catalog's name", connection.table("tickets", database=(LOGIN["database"], "external_support")).filter(lambda each: each.id < 3).select("id"))


def is_refused(connection):
    for name, work in {
        "an update": lambda: connection.raw_sql("update external_support.tickets set priority = 'high' where id = 42"),
        "a column that is nowhere": lambda: connection.raw_sql("select internal_notes from external_support.tickets"),
    }.items():
        try:
            work()
            step(name, sqlstate=None)
        except psycopg.Error as error:
            step(name, sqlstate=error.sqlstate)


client("ibis", ibis.__version__, "connecting with a schema, tables and schemas, expressions, windows, joins, arrays, SQL with a schema, names with the catalog, errors")
plain = connected()
look(plain)
read(plain)
is_refused(plain)
plain.disconnect()
of_schema = connected(schema="external_support")
step("its schema", database=of_schema.current_database, tables=sorted(of_schema.list_tables()))
rows("by its schema", of_schema.table("customers").filter(lambda each: each.id < 12).select("id", "name", "plan").order_by("id"))
of_schema.disconnect()
