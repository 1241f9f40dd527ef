"""psql on a pseudo-terminal, as a person types: completion by TAB, \\watch until it is interrupted, FETCH_COUNT, \\copy. One JSON line a step."""

import fcntl
import os
import pty
import re
import select
import struct
import tempfile
import termios
import time

from transcript import step

INPUTRC = """
set bell-style none
set completion-query-items 0
set page-completions off
set show-all-if-ambiguous on
set enable-bracketed-paste off
set colored-stats off
"""
# What is typed right behind a TAB: the terminal shows it when the completion is done, not before.
MARK = "@@"
PATIENCE = 30
# What a copy has besides: indexes that are no keys, and the schema of the real tables.
OF_THE_COPY = re.compile(r"_idx$|^public\.$")


class Terminal:
    def __init__(self, directory):
        inputrc = os.path.join(directory, "inputrc")
        with open(inputrc, "w") as file:
            file.write(INPUTRC)
        self.child, self.master = pty.fork()
        if self.child == 0:
            os.environ.update(INPUTRC=inputrc, TERM="dumb", PAGER="cat", PSQL_HISTORY="/dev/null", LC_ALL="C.UTF-8", TZ="UTC")
            os.chdir(directory)
            os.execvp("psql", ["psql", "-X"])
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 200, 240, 0, 0))
        self.seen = ""
        self.until(r"=[>#] $")
        self.ask(r"\set PROMPT1 'sql> '")
        self.ask(r"\set PROMPT2 'more> '")

    def type(self, text):
        os.write(self.master, text.encode())

    def until(self, pattern):
        """What the terminal showed up to where it matches."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{pattern!r} did not come: {self.seen!r}")
            self.seen += os.read(self.master, 65536).decode().replace("\r", "")
        shown, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return shown

    def ask(self, line, prompt=r"sql> $"):
        self.type(line + "\n")
        return self.until(prompt).split("\n")[1:-1]

    def complete(self, text, before=()):
        """What the terminal shows of a TAB: the words to choose from, and the line as it is then."""
        for line in before:
            self.ask(line, prompt=r"more> $")
        self.type(text + "\t" + MARK)
        shown = self.until(re.escape(MARK)).removesuffix(MARK).split("\n")
        self.type("\x15\x03")
        self.until(r"sql> $")
        choices = [word for word in " ".join(shown[1:-1]).split() if not OF_THE_COPY.search(word)]
        return {"line": re.sub("^(sql|more)> ", "", shown[-1]), "choices": sorted(choices)}


COMPLETIONS = [
    "SELECT * FROM tic", "SELECT * FROM external_support.", "SELECT * FROM external_support.cust", "SELECT * FROM extern", "SELECT * FROM nothing_like_it",
    "TABLE doc", "SELECT * FROM tickets WHERE ", "SELECT * FROM tickets WHERE pri", "SELECT * FROM external_support.tickets WHERE s", "SELECT * FROM tickets ORDER BY crea",
    "SELECT * FROM orders JOIN tic", "COPY cust", "INSERT INTO ord", "INSERT INTO tickets (", "INSERT INTO tickets (su", "UPDATE tic", "UPDATE tickets SET pri", "DELETE FROM doc", "ANALYZE tic",
    "\\d tic", "\\d external_support.or", "\\dt cust", "\\d+ docu", "\\di cust", "\\dn ext", "\\d ", "\\dt ", "\\sv tick", "\\d public.", "\\des ", "\\dFp ", "\\dRp ",
    "SET inter", "SET client_e", "SET statement_t", "SET TimeZone TO Europe/Pr", "SET DateStyle TO ", "SHOW datest", "SHOW search_", "RESET extra_f", "SET search_path TO ext", "SELECT current_se",
    "BEGIN ISOLATION LEVEL ", "ROLLBACK ", "DECLARE c ", "FETCH ", "EXPLAIN ", "DEALLOCATE ", "sele", "\\enc", "\\pset for", "\\pset format un", "\\set FETCH_C", "\\echo :VERS",
    "\\encoding UTF", "GRANT SELECT ON tic", "LOCK TABLE ord", "COMMENT ON COLUMN tickets.", "ALTER TABLE docu", "DROP TABLE cus", "CREATE INDEX ON tickets (", "REFRESH MATERIALIZED VIEW ", "\\du sup",
]


def main():
    with tempfile.TemporaryDirectory() as directory:
        terminal = Terminal(directory)
        for text in COMPLETIONS:
            step(f"TAB after {text!r}", **terminal.complete(text))
        step("TAB in the second line", **terminal.complete("WHERE pri", before=["SELECT * FROM tickets"]))
        terminal.ask("BEGIN;")
        step("TAB in a transaction", **terminal.complete("SELECT * FROM tic"))
        terminal.ask("SELECT 1/0;")
        step("TAB in a failed transaction", **terminal.complete("SELECT * FROM tic"))
        terminal.ask("ROLLBACK;")
        for line in [
            "SELECT id, subject FROM tickets WHERE id < 5 ORDER BY id;", "\\echo :ROW_COUNT",
            "SELECT id, status::text, amount, tags, created_at FROM tickets \\gdesc", "SELECT 1 AS a, NULL AS b, now() - now() AS c \\gdesc", "SELECT nothing_of_it \\gdesc",
            "\\set FETCH_COUNT 7", "SELECT id FROM tickets WHERE id < 50 ORDER BY id;", "SELECT id, 10 / (id - 20) AS x FROM tickets WHERE id < 60 ORDER BY id;", "BEGIN;",
            "SELECT count(*) FROM tickets;", "COMMIT;", "\\set FETCH_COUNT 0",
            "\\copy (SELECT id, subject, amount FROM tickets WHERE id < 20 ORDER BY id) TO 'tickets.csv' WITH (FORMAT csv, HEADER)", "\\! cat tickets.csv",
            "\\copy (SELECT internal_notes FROM tickets) TO 'nothing.csv'", "\\copy (SELECT id FROM tickets WHERE id < 4) TO STDOUT",
            "\\copy (SELECT id, title FROM documents WHERE id < 9) TO PROGRAM 'sort -rn'", "SELECT 1 / (id - 1) FROM tickets WHERE id = 1;", "\\errverbose",
            "SELECT subject FROM tickets WHERE id = 2 \\g (format=unaligned) out.txt", "\\! cat out.txt", "\\timing off", "\\no_such_command",
        ]:
            step(line, shown=[part for part in terminal.ask(line) if not part.startswith(("HINT", "LOCATION"))])
        watched(terminal)
        interrupted(terminal)
        terminal.type("\\q\n")
        step("ended", status=os.waitpid(terminal.child, 0)[1])


def watched(terminal):
    terminal.type("SELECT count(*) AS counted FROM tickets WHERE id < 20 \\watch 0.2\n")
    shown = [terminal.until(r"\(1 row\)\n\n") for _ in range(2)]
    terminal.type("\x03")
    terminal.until(r"sql> $")
    # The first one shows what was typed, and each says when it was.
    step("\\watch, twice", shown=[[line for line in part.split("\n")[-6:] if "(every" not in line] for part in shown], every=["(every 0.2s)" in part for part in shown])
    step("after it", shown=terminal.ask("SELECT 1 AS still_here;"))


def interrupted(terminal):
    terminal.type("SELECT count(*) FROM tickets a, tickets b, tickets c WHERE a.amount + b.amount + c.amount = 1;\n")
    time.sleep(0.5)
    terminal.type("\x03")
    shown = terminal.until(r"sql> $").split("\n")
    step("Ctrl-C in a statement", shown=[line for line in shown if line.startswith("ERROR")])
    step("after Ctrl-C", shown=terminal.ask("SELECT count(*) FROM tickets WHERE id < 10;"))


main()
