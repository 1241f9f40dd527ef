"""pgcli against whatever server libpq's environment names: what it completes by, and what it shows, without a terminal."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile

from pgcli.pgexecute import PGExecute
from transcript import canonical, client, step

# pgcli's own words on its connection, and how long a statement took.
CHATTER = re.compile(r"^(Using local time zone|Use `set time zone|Time: )")

COMMANDS = [
    "select id, subject, priority, amount from tickets where id < 8 order by id",
    "select id, name, plan from external_support.customers where id < 10 order by id",
    "select count(*) from tickets; select 2 as two",
    "begin; select count(*) from orders; commit",
    "select * from nowhere limit 1",
    "select 1 / 0",
    "set timezone = 'europe/paris'; select timestamptz '2024-07-01 12:00+00'",
    "\\dv",
    "\\dm",
    "\\ds",
]


def completes():
    of = os.environ
    session = PGExecute(of["PGDATABASE"], of["PGUSER"], of["PGPASSWORD"], of["PGHOST"], of["PGPORT"], None)
    step("search path", names=session.search_path())
    ours = ("external_support",)
    step("schemata", names=[name for name in session.schemata() if name in ours])
    for name, found in {"tables": session.tables(), "views": session.views()}.items():
        step(name, found=sorted(canonical(row) for row in found if row[0] in ours))
    for row in sorted(canonical(row[:4]) for row in session.table_columns() if row[0] in ours):
        step("a column", of=row)
    step("foreign keys", found=sorted(canonical(row) for row in session.foreignkeys()))
    functions = {row.func_name for row in session.functions() if row.schema_name == "pg_catalog"}
    step("functions", known=sorted(functions & {"abs", "lower", "now", "generate_series", "jsonb_agg", "regexp_match"}))


def shows(home):
    environment = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "PAGER": "cat"}
    for command in COMMANDS:
        arguments = [sys.executable, "-m", "pgcli.main", "--no-password", "--less-chatty", "--command", command]
        run = subprocess.run(arguments, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        for line in (run.stdout + run.stderr).splitlines():
            if not CHATTER.match(line) and not line.startswith(("LINE 1", "HINT", " ")):
                step(command, line=line)


client("pgcli", importlib.metadata.version("pgcli"), "completion: search path, relations, columns, foreign keys, functions; statements, several at once, transactions, errors, lists")
completes()
with tempfile.TemporaryDirectory() as home:
    shows(home)
