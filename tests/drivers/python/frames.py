"""pandas and ADBC against whatever server libpq's environment names: data frames, Arrow tables by binary COPY."""

import os

import adbc_driver_postgresql
import adbc_driver_postgresql.dbapi
import pandas
import sqlalchemy as sa
from transcript import client, step

QUERY = "select id, subject, amount::float8 as amount, created_at, rating, assignee from tickets where id < 60 order by id"


def frame(name, found):
    step(name, columns=[[column, str(kind)] for column, kind in found.dtypes.items()], count=len(found))
    for number, row in enumerate(found.to_json(orient="records", lines=True, date_format="iso").splitlines()):
        step(f"{name}, row {number}", row=row)


def by_pandas():
    engine = sa.create_engine("postgresql+psycopg://")
    frame("read_sql", pandas.read_sql(QUERY, engine))
    frame("read_sql with parameters", pandas.read_sql(sa.text("select id, status::text as status from tickets where id = any(:ids) order by id"), engine, params={"ids": [1, 2, 3]}))
    frame("read_sql_table", pandas.read_sql_table("customers", engine, schema="external_support").sort_values("id").head(20).reset_index(drop=True).astype(str))
    frame("read_sql by date", pandas.read_sql(QUERY, engine, parse_dates=["created_at"], index_col="id").reset_index())
    for number, chunk in enumerate(pandas.read_sql(QUERY, engine, chunksize=10)):
        frame(f"chunk {number}", chunk)
    try:
        pandas.DataFrame({"id": [987654], "subject": ["x"]}).to_sql("tickets", engine, schema="external_support", if_exists="append", index=False)
        step("to_sql", sqlstate=None)
    except pandas.errors.DatabaseError as error:
        step("to_sql", sqlstate=error.__cause__.orig.sqlstate)


def by_adbc():
    uri = "postgresql://{PGUSER}@{PGHOST}:{PGPORT}/{PGDATABASE}".format(**os.environ)
    with adbc_driver_postgresql.dbapi.connect(uri, autocommit=True) as connection:
        for name, query in {
            "adbc": QUERY,
            "adbc types": "select 1::int2 as a, 2::int4 as b, 3::int8 as c, 1.5::float4 as d, true as e, 'é'::text as f, '\\x00ff'::bytea as g, date '2024-02-29' as h,"
            " array[1, null, 3] as i, null::text as j",
            "adbc nothing": "select id from tickets where id = -1",
            "adbc many": "select id, customer_id from tickets where id < 2000 order by id",
        }.items():
            with connection.cursor() as cursor:
                cursor.execute(query)
                table = cursor.fetch_arrow_table()
                step(name, schema=[[field.name, str(field.type)] for field in table.schema], count=table.num_rows)
                for number, row in enumerate(table.slice(0, 80).to_pylist()):
                    step(f"{name}, row {number}", row=str(row))
        with connection.cursor() as cursor:
            cursor.execute("select id, subject from tickets where id = $1", parameters=(42,))
            step("adbc parameters", rows=[str(row) for row in cursor.fetchall()])
        schema = connection.adbc_get_table_schema("customers", db_schema_filter="external_support")
        step("adbc table schema", fields=[[field.name, str(field.type)] for field in schema])
        with connection.cursor() as cursor:
            try:
                cursor.execute("update tickets set priority = 'x' where id = 42")
                step("adbc write", refused=False)
            except Exception as error:
                step("adbc write", refused=True, sqlstate=error.sqlstate)
        with connection.cursor() as cursor:
            cursor.execute("select count(*) from tickets where id < 10")
            step("adbc goes on", rows=[str(row) for row in cursor.fetchall()])


client("pandas", pandas.__version__, "read_sql, read_sql_table, parameters, chunks, to_sql refused; over SQLAlchemy and psycopg 3")
client("ADBC (PostgreSQL driver)", adbc_driver_postgresql.__version__, "Arrow tables by binary COPY, parameters, table schema, writes refused")
by_pandas()
by_adbc()
