"""ClickHouse in process (PyPI chdb): loads a RowBinary file, answers the four questions, prints one line of JSON.

Reads its task as JSON from standard input. There is no server in this package, so nothing goes over HTTP.
"""

import json
import os
import resource
import sys
import time

from chdb import session

task = json.load(sys.stdin)
CHANNELS = task["channels"]
DECIMALS = task["decimals"]


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


store = session.Session(task["folder"])
columns = ", ".join(
    f"e{c} Nullable(Decimal32({DECIMALS[c]})) CODEC(Delta(4), ZSTD(3))" for c in range(CHANNELS)
)
store.query("CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic")
store.query(
    f"CREATE TABLE bench.m (d UInt16 CODEC(ZSTD(3)), t DateTime('UTC') CODEC(DoubleDelta, ZSTD(3)), {columns})"
    " ENGINE = MergeTree ORDER BY (d, t)"
)
rows = "d UInt16, t DateTime(''UTC''), " + ", ".join(
    f"e{c} Nullable(Decimal32({DECIMALS[c]}))" for c in range(CHANNELS)
)
begin, before = time.perf_counter(), cpu()
store.query(f"INSERT INTO bench.m SELECT * FROM file('{task['rows']}', 'RowBinary', '{rows}')")
wall, used = time.perf_counter() - begin, cpu() - before
store.query("OPTIMIZE TABLE bench.m FINAL")


def number(sql):
    return int(str(store.query(sql, "TabSeparated")).strip() or 0)


counted = " + ".join(f"count(e{c})" for c in range(CHANNELS))
points = number(f"SELECT {counted} FROM bench.m")
size = number("SELECT sum(bytes_on_disk) FROM system.parts WHERE database = 'bench' AND active")

day = f"t >= toDateTime({task['monday']}, 'UTC') AND t < toDateTime({task['monday'] + 86400}, 'UTC')"
last = [f"SELECT t, e{c} FROM bench.m WHERE d = {d} AND e{c} IS NOT NULL ORDER BY t DESC LIMIT 1" for d, c in task["picked"]]
raw = [f"SELECT t, e{c} FROM bench.m WHERE d = {d} AND {day} AND e{c} IS NOT NULL ORDER BY t" for d, c in task["picked"]]
year = [
    f"SELECT toStartOfHour(t) h, avg(e{c}) FROM bench.m WHERE d = {task['year']} GROUP BY h ORDER BY h"
    for c in range(CHANNELS)
]
means = ", ".join(f"avg(e{c})" for c in range(CHANNELS))
many = [
    f"SELECT d, toStartOfInterval(t, INTERVAL 10 MINUTE) b, {means} FROM bench.m"
    f" WHERE d >= {g * 100} AND d < {g * 100 + 100} AND {day} GROUP BY d, b ORDER BY d, b"
    for g in task["groups"]
]


def ask(questions, times, least):
    lines = len(str(store.query(questions[0], "TabSeparated")).splitlines())
    if lines < least:
        sys.exit(f"{lines} instead of {least} lines: {questions[0]}")
    for question in questions[:times]:
        store.query(question, "JSONCompact")
    took = []
    for at in range(times):
        question = questions[at % len(questions)]
        start = time.perf_counter()
        store.query(question, "JSONCompact").bytes()
        took.append(time.perf_counter() - start)
    return took


answers = {
    "last": ask(last, task["asked"], 1),
    "day": ask(raw, task["asked"], 800),
    "year": ask(year, task["asked_large"], 8000),
    "many": ask(many, task["asked_large"], 12000),
}
print(json.dumps({"wall": wall, "cpu": used, "points": points, "bytes": size, "answers": answers}))
sys.stdout.flush()
os._exit(0)
