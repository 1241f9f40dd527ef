"""How libpq 18 may be asked to connect: TLS from the first byte, protocol 3.2 with its long cancel keys. One line each."""
import threading
import time

import psycopg

SLOW = "select count(*), sum(length(md5(i::text))) from generate_series(1, 20000000) i"


def say(what, **options):
    try:
        connection = psycopg.connect(autocommit=True, **options)
    except psycopg.OperationalError as error:
        print(what, "refused", str(error).strip().splitlines()[-1].split(": ")[-1])
        return
    pgconn = connection.pgconn
    began = threading.Timer(0.2, lambda: connection.cancel_safe(timeout=5))
    began.start()
    start = time.monotonic()
    try:
        connection.execute(SLOW)
        ended = "ran to its end"
    except psycopg.errors.QueryCanceled:
        ended = "canceled"
    began.join()
    assert time.monotonic() - start < 20
    rows = connection.execute("select count(*) > 0 from tickets").fetchone()[0]
    print(what, pgconn.full_protocol_version, "TLS" if pgconn.ssl_in_use else "plain", ended, rows)
    connection.close()


print("psycopg", psycopg.__version__, "libpq", psycopg.pq.version() // 10000)
say("usual", sslmode="require")
say("direct", sslmode="require", sslnegotiation="direct")
say("latest", sslmode="require", min_protocol_version="3.2", max_protocol_version="latest")
say("latest direct", sslmode="require", sslnegotiation="direct", min_protocol_version="latest", max_protocol_version="latest")
say("oldest", sslmode="disable", max_protocol_version="3.0")
