"""SQLAlchemy 2 with psycopg 3 against whatever server libpq's environment names: reflection, reads by ORM and Core, refused writes."""

import sqlalchemy as sa
from sqlalchemy import orm
from transcript import canonical, client, step

SCHEMA = "external_support"


def reflected(inspector):
    step("schemas", names=sorted(name for name in inspector.get_schema_names() if name == SCHEMA))
    step("default schema", schema=inspector.default_schema_name)
    step("tables", names=sorted(inspector.get_table_names(SCHEMA)), views=sorted(inspector.get_view_names(SCHEMA)))
    for table in sorted(inspector.get_table_names(SCHEMA)):
        for column in inspector.get_columns(table, SCHEMA):
            step(f"column {table}.{column['name']}", type=str(column["type"]), nullable=column["nullable"], default=column["default"])
        step(f"keys of {table}", primary=inspector.get_pk_constraint(table, SCHEMA)["constrained_columns"],
             foreign=[[key["constrained_columns"], key["referred_table"], key["referred_columns"]] for key in inspector.get_foreign_keys(table, SCHEMA)])
        step(f"has {table}", found=inspector.has_table(table, SCHEMA), bare=inspector.has_table(table))


def core(engine, tickets, customers):
    with engine.connect() as connection:
        query = sa.select(tickets.c.id, tickets.c.subject, tickets.c.amount).where(tickets.c.id.in_([1, 2, 3, 40])).order_by(tickets.c.id)
        step("in", rows=canonical([tuple(row) for row in connection.execute(query)]))
        query = sa.select(sa.func.count(), sa.func.max(tickets.c.amount)).where(tickets.c.subject.ilike("%refund%"))
        step("aggregate", rows=canonical([tuple(row) for row in connection.execute(query)]))
        joined = sa.select(customers.c.id, sa.func.count(tickets.c.id)).join(tickets, tickets.c.customer_id == customers.c.id)
        joined = joined.where(customers.c.id < 20).group_by(customers.c.id).order_by(customers.c.id)
        step("join", rows=canonical([tuple(row) for row in connection.execute(joined)]))
        streamed = connection.execution_options(yield_per=10).execute(sa.select(tickets.c.id).where(tickets.c.id < 60).order_by(tickets.c.id))
        step("server-side cursor", rows=canonical([tuple(row) for row in streamed]))
        exists = sa.select(customers.c.id).where(sa.exists().where(tickets.c.customer_id == customers.c.id)).where(customers.c.id < 30)
        step("exists", rows=canonical(sorted(tuple(row) for row in connection.execute(exists))))
        window = sa.select(tickets.c.id, sa.func.row_number().over(order_by=tickets.c.id)).where(tickets.c.id < 20)
        step("window", rows=canonical(sorted(tuple(row) for row in connection.execute(window))))


def native_enum(engine, tickets):
    """A native ENUM is cast to by name in every parameter: as reflected, with its schema, and as a model without one has it."""
    labels = ["new", "open", "pending", "solved", "closed"]
    model = sa.Table("tickets", sa.MetaData(), sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("status", sa.Enum(*labels, name="ticket_status")),
                     schema=SCHEMA)
    step("enum", type=repr(tickets.c.status.type))
    for name, table in {"reflected": tickets, "model": model}.items():
        for dialect in ["psycopg", "asyncpg", "psycopg2"]:
            query = sa.select(table.c.id, table.c.status).where(table.c.status == "open").compile(dialect=sa.create_engine(f"postgresql+{dialect}://").dialect)
            step(f"text of {name}, {dialect}", text=" ".join(str(query).split()))
        with engine.connect() as connection:
            for condition, where in {"=": table.c.status == "open", "in": table.c.status.in_(["new", "closed"]), "<": table.c.status < "pending",
                                     "any": table.c.status == sa.any_(sa.cast(["new", "open"], sa.ARRAY(table.c.status.type)))}.items():
                query = sa.select(table.c.id, table.c.status, sa.cast("new", table.c.status.type)).where(where, table.c.id < 60).order_by(table.c.id)
                step(f"{name} {condition}", rows=canonical([tuple(row) for row in connection.execute(query)]))
            for form in ["ticket_status", f"{SCHEMA}.ticket_status", "ticket_status[]"]:
                try:
                    connection.execute(sa.text(f"select count(*) from tickets where status::text <> (:value)::{form}::text"), {"value": "public.ticket_status"})
                except sa.exc.DBAPIError as error:
                    step(f"no label, {form}", sqlstate=error.orig.sqlstate, message=error.orig.diag.message_primary)
                connection.rollback()


def by_orm(engine, tickets):
    class Base(orm.DeclarativeBase):
        pass

    class Ticket(Base):
        __table__ = sa.Table("tickets", Base.metadata, *(sa.Column(name, sa.BigInteger if name == "id" else sa.Text, primary_key=name == "id")
                             for name in ["id", "subject", "priority"]), schema=SCHEMA)

    with orm.Session(engine) as session:
        found = session.get(Ticket, 42)
        step("get", subject=found.subject, missing=session.get(Ticket, -1) is None)
        step("scalars", rows=canonical(session.scalars(sa.select(Ticket.subject).where(Ticket.id < 20).order_by(Ticket.id)).all()))
        for name, change in {
            "update": lambda: setattr(found, "priority", "changed by the ORM"),
            "insert": lambda: session.add(Ticket(id=900100, subject="made by the ORM", priority="low")),
            "delete": lambda: session.delete(found),
        }.items():
            change()
            try:
                session.flush()
                step(f"orm {name}", sqlstate=None)
            except sa.exc.DBAPIError as error:
                step(f"orm {name}", kind=type(error).__name__, sqlstate=error.orig.sqlstate, disconnect=error.connection_invalidated)
            session.rollback()
            found = session.get(Ticket, 42)
            step(f"after {name}", subject=found.subject)
    with engine.begin() as connection:
        step("the pool goes on", rows=canonical([tuple(row) for row in connection.execute(sa.text("select count(*) from tickets where id < 50"))]))


def read_only():
    """A pooled connection that was asked to be read-only is an ordinary one again for whoever gets it next."""
    for driver in ["psycopg", "psycopg2"]:
        engine = sa.create_engine(f"postgresql+{driver}://", pool_size=1, max_overflow=0)
        for options in [{"postgresql_readonly": True}, {}, {"postgresql_readonly": False}, {"isolation_level": "SERIALIZABLE", "postgresql_readonly": True,
                        "postgresql_deferrable": True}, {"isolation_level": "REPEATABLE READ", "postgresql_readonly": False}, {"isolation_level": "AUTOCOMMIT"}]:
            with engine.connect().execution_options(**options) as connection:
                asked = {name: value for name, value in options.items() if value is not False}
                seen = connection.execute(sa.text("select count(*), current_setting('transaction_isolation') from tickets where id < 50")).one()
                mode = connection.execute(sa.text("show transaction_read_only")).scalar() if "postgresql_readonly" in options else None
                step(f"{driver} {sorted(options)}", asked=canonical(asked), seen=canonical(tuple(seen)), mode=mode)
        engine.dispose()


def main():
    client("SQLAlchemy", sa.__version__, "reflection, Core, ORM reads, ORM writes refused, server-side cursors, pool reset, read-only and isolation options; over psycopg 3 and psycopg2")
    engine = sa.create_engine("postgresql+psycopg://", pool_size=2, pool_pre_ping=True)
    reflected(sa.inspect(engine))
    metadata = sa.MetaData(schema=SCHEMA)
    metadata.reflect(engine)
    step("reflected", names=sorted(metadata.tables))
    core(engine, metadata.tables[f"{SCHEMA}.tickets"], metadata.tables[f"{SCHEMA}.customers"])
    native_enum(engine, metadata.tables[f"{SCHEMA}.tickets"])
    by_orm(engine, metadata.tables[f"{SCHEMA}.tickets"])
    engine.dispose()
    read_only()


main()
