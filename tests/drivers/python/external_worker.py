"""A worker that is not ours: polls approved row changes, applies them with its own SQL, reports.

Knows the control API's contract (docs/PROPOSALS.md) and nothing else of pgwicket. Prints one JSON line for each answer.

usage: external_worker.py URL   (PGWICKET_API_KEY, TARGET_URL of the database to write to)
"""

import itertools
import json
import os
import sys
import urllib.error
import urllib.request

import psycopg
from psycopg import sql

BASE = sys.argv[1] + "/v1/control/external-writebacks/proposals"


def ask(path, body=None):
    """The answer of the control API: status and JSON."""
    request = urllib.request.Request(BASE + path, data=None if body is None else json.dumps(body).encode())
    request.add_header("authorization", "Bearer " + os.environ["PGWICKET_API_KEY"])
    request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def cast(item, column):
    """A placeholder of the column's type: values travel as text."""
    return sql.SQL("%s::" + item["types"][column])


def guards(item):
    """The row as it was read: its key, its tenant, its conflict column (or every value that was read)."""
    seen = dict(item["primary_key"])
    if item["tenant_column"]:
        seen[item["tenant_column"]] = item["tenant_id"]
    seen.update(item["conflict"] or item["before"])
    conditions = [sql.SQL("{} is not distinct from {}").format(sql.Identifier(name), cast(item, name)) for name in seen]
    return sql.SQL(" and ").join(conditions), list(seen.values())


def statement(item):
    """The change as SQL with parameters."""
    table = sql.Identifier(item["external_schema"], item["external_table"])
    new, defaults = item["changes"], item["defaults"]
    # As published workers check it: whatever a statement names is allowed, what says which row is meant too.
    named = set(new) | set(defaults) | set(item["primary_key"]) | set(item["conflict"] or ())
    named |= {item["tenant_column"]} if item["tenant_column"] else set()
    assert named == set(item["allowed_columns"]) and set(item["guard_columns"]) <= named
    assert item["operation"] == "insert" or not set(new) & set(item["guard_columns"])
    if item["operation"] == "insert":
        if item["tenant_column"]:
            new = {**new, item["tenant_column"]: item["tenant_id"]}
        columns = sql.SQL(", ").join(map(sql.Identifier, new))
        values = sql.SQL(", ").join(cast(item, name) for name in new)
        return sql.SQL("insert into {} ({}) values ({})").format(table, columns, values), list(new.values())
    where, seen = guards(item)
    if item["operation"] == "delete":
        return sql.SQL("delete from {} where {}").format(table, where), seen
    assignments = [sql.SQL("{} = {}").format(sql.Identifier(name), cast(item, name)) for name in new]
    assignments += [sql.SQL("{} = default").format(sql.Identifier(name)) for name in defaults]
    text = sql.SQL("update {} set {} where {}").format(table, sql.SQL(", ").join(assignments), where)
    return text, list(new.values()) + seen


def apply(connection, items):
    """All changes of one proposal in one transaction; what became of them."""
    rows = 0
    try:
        with connection.transaction():
            for item in items:
                text, values = statement(item)
                changed = connection.execute(text, values).rowcount
                if changed != 1:
                    raise LookupError(f"change {item['change_index']} met {changed} rows")
                rows += changed
    except LookupError as conflict:
        return {"status": "conflict", "error": str(conflict)}
    except psycopg.Error as failed:
        return {"status": "failed", "error": str(failed)}
    return {"status": "applied", "external_commit_metadata": {"affected_rows": rows, "operation": items[0]["operation"]}}


def main():
    status, answer = ask("?status=approved&project_id=any&transactions=true")
    assert status == 200 and answer["ok"], answer
    with psycopg.connect(os.environ["TARGET_URL"], autocommit=True) as connection:
        for proposal, items in itertools.groupby(answer["proposals"], key=lambda item: item["proposal_id"]):
            items = list(items)
            report = {**apply(connection, items), "idempotency_key": items[0]["idempotency_key"]}
            other = {"status": "failed" if report["status"] == "applied" else "applied", "error": "a second opinion"}
            for body in (report, report, other):
                status, known = ask(f"/{proposal}/apply-result", body)
                print(json.dumps({"proposal_id": proposal, "reported": body["status"], "http": status, "answer": known}))


main()
