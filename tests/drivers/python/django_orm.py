"""Django's ORM with psycopg 3 against whatever server libpq's environment names: unmanaged models, `.iterator()` in autocommit (cursors
WITH HOLD), refused writes, introspection."""

import os
import sys
import types

import django
from django.conf import settings
from transcript import canonical, client, step

# An application without a directory of its own: its models are below.
support = types.ModuleType("support")
support.__path__ = [os.path.dirname(os.path.abspath(__file__))]
sys.modules["support"] = support

settings.configure(
    INSTALLED_APPS=["support"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.environ["PGDATABASE"],
            "USER": os.environ["PGUSER"],
            "PASSWORD": os.environ.get("PGPASSWORD", ""),
            "HOST": os.environ["PGHOST"],
            "PORT": os.environ["PGPORT"],
        }
    },
    USE_TZ=True,
    TIME_ZONE="UTC",
)
django.setup()

from django.db import Error, connection, models, transaction  # noqa: E402


class Customer(models.Model):
    id = models.BigIntegerField(primary_key=True)
    name = models.TextField()

    class Meta:
        app_label = "support"
        managed = False
        db_table = "customers"


class Ticket(models.Model):
    id = models.BigIntegerField(primary_key=True)
    subject = models.TextField()
    priority = models.TextField()
    customer = models.ForeignKey(Customer, models.DO_NOTHING)
    amount = models.DecimalField(max_digits=20, decimal_places=4)
    meta = models.JSONField()
    created_at = models.DateTimeField()

    class Meta:
        app_label = "support"
        managed = False
        db_table = "tickets"


def each(name, rows):
    for number, row in enumerate(rows):
        step(f"{name}, row {number}", row=canonical(row))


def reads():
    step("get", **canonical(Ticket.objects.values("id", "subject", "amount", "meta", "created_at").get(pk=42)))
    step("missing", found=Ticket.objects.filter(pk=-1).exists())
    each("filter", Ticket.objects.filter(subject__icontains="refund", id__lt=80).order_by("-id").values_list("id", "subject"))
    each("in", Ticket.objects.filter(id__in=[1, 2, 3, 40]).order_by("id").values_list("id", "priority"))
    step("count", count=Ticket.objects.count(), distinct=Ticket.objects.values("priority").distinct().count())
    step("aggregate", **canonical(Ticket.objects.aggregate(most=models.Max("amount"), sum=models.Sum("id"), mean=models.Avg("id"))))
    counted = Customer.objects.filter(id__lt=20).annotate(tickets=models.Count("ticket")).order_by("id")
    each("annotate", counted.values_list("id", "tickets"))
    related = Ticket.objects.select_related("customer").filter(id__lt=12).order_by("id")
    each("select_related", [(ticket.id, ticket.customer.name) for ticket in related])
    fetched = Customer.objects.filter(id__lt=12).prefetch_related("ticket_set").order_by("id")
    step("prefetch_related", rows=canonical([(customer.id, sorted(ticket.id for ticket in customer.ticket_set.all())) for customer in fetched]))
    step("dates", rows=canonical(list(Ticket.objects.filter(id__lt=200).dates("created_at", "month"))))
    exists = Customer.objects.filter(models.Exists(Ticket.objects.filter(customer=models.OuterRef("pk"), priority="high")), id__lt=60)
    step("exists", rows=canonical(sorted(exists.values_list("id", flat=True))))
    each("json key", Ticket.objects.filter(id__lt=30).order_by("id").values_list("id", "meta__channel"))
    each("slice", Ticket.objects.order_by("id").values_list("id", "created_at")[10:20])


def iterators():
    """In autocommit each is a cursor WITH HOLD."""
    tickets = Ticket.objects.order_by("id")
    step("iterator", rows=canonical([ticket.id for ticket in tickets.filter(id__lt=300).iterator(chunk_size=7)]))
    step("iterator over values", rows=canonical(list(tickets.filter(id__lt=30).values_list("id", "amount").iterator(chunk_size=4))))
    outer = tickets.filter(id__lt=12).iterator(chunk_size=2)
    nested = [(ticket.id, [other.id for other in tickets.filter(customer_id=ticket.customer_id).iterator(chunk_size=1)]) for ticket in outer]
    step("iterators within one another", rows=canonical(nested))
    begun = tickets.iterator(chunk_size=3)
    step("begun", first=next(begun).id, other=Ticket.objects.filter(id__lt=9).count(), second=next(begun).id)
    begun.close()
    with transaction.atomic():
        step("iterator in a transaction", rows=canonical([ticket.id for ticket in tickets.filter(id__lt=30).iterator(chunk_size=5)]))
    prefetched = Customer.objects.filter(id__lt=12).order_by("id").prefetch_related("ticket_set").iterator(chunk_size=3)
    step("iterator with prefetch", rows=canonical([(customer.id, len(customer.ticket_set.all())) for customer in prefetched]))
    try:
        list(tickets.extra(select={"bad": "1 / (id - id)"}).iterator(chunk_size=3))
    except Error as error:
        step("iterator that fails", kind=type(error).__name__, sqlstate=error.__cause__.sqlstate)
    step("and the connection goes on", count=Ticket.objects.filter(id__lt=9).count())


def writes():
    ticket = Ticket.objects.get(pk=42)
    ticket.priority = "changed by Django"
    for name, change in {
        "save": lambda: ticket.save(update_fields=["priority"]),
        "delete": ticket.delete,
        "create": lambda: Customer.objects.create(id=900100, name="made by Django"),
        "update": lambda: Ticket.objects.filter(pk=42).update(priority="changed by Django"),
    }.items():
        try:
            with transaction.atomic():
                change()
            step(name, sqlstate=None)
        except Error as error:
            step(name, kind=type(error).__name__, sqlstate=error.__cause__.sqlstate)
    step("after the writes", priority=Ticket.objects.get(pk=42).priority)


def introspection():
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        step("tables", names=[name for name in tables if name in ("customers", "documents", "orders", "tickets")])
        for table in ("customers", "orders"):
            columns = connection.introspection.get_table_description(cursor, table)
            step(f"columns of {table}", rows=canonical([(column.name, column.null_ok) for column in columns]))
            step(f"key of {table}", column=connection.introspection.get_primary_key_column(cursor, table))


client("Django", django.__version__, "ORM reads, `.iterator()` in autocommit and in transactions, writes refused, introspection; over psycopg 3")
reads()
iterators()
writes()
introspection()
connection.close()
