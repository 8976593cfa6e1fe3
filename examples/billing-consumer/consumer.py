#!/usr/bin/env python3
"""A billing system's side of Trunkline's webhooks, to start from.

Takes usage records (CloudEvents) by HTTP, checks their signatures, keeps each record once, and
adds them up to something like an invoice. Python's standard library only.

    consumer.py serve --secret-file FILE [--port 9100] [--database usage.sqlite]
    consumer.py total --month 2026-11 [--prices prices.json] [--database usage.sqlite]
"""

import argparse
import base64
import contextlib
import hashlib
import hmac
import json
import sqlite3
import sys
import time
from decimal import ROUND_HALF_EVEN, Decimal, getcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

getcontext().prec = 60
TOLERANCE_S = 300
MOST_BYTES = 256 * 1024


def signature(secret, message_id, timestamp, body):
    """Standard Webhooks: HMAC-SHA-256 over id.timestamp.body."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def verify(secrets, headers, body, now):
    """Raises ValueError unless one of the secrets has signed this message, lately."""
    message_id = headers.get("webhook-id") or ""
    timestamp = headers.get("webhook-timestamp") or ""
    if not message_id or not timestamp.isdigit():
        raise ValueError("webhook-id or webhook-timestamp is missing")
    if abs(now - int(timestamp)) > TOLERANCE_S:
        raise ValueError("the message is too old, or from the future")
    given = [word[3:] for word in (headers.get("webhook-signature") or "").split()
             if word.startswith("v1,")]
    for secret in secrets:
        expected = signature(secret, message_id, timestamp, body)
        if any(hmac.compare_digest(expected.encode(), other.encode()) for other in given):
            return message_id
    raise ValueError("no signature is right")


class Store:
    """Records by id: one that comes twice is kept once."""

    def __init__(self, path):
        self.path = path
        with self.open() as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS record (arrival INTEGER PRIMARY KEY, id TEXT UNIQUE, "
                "project TEXT, instance TEXT, window_start TEXT, event TEXT)")

    @contextlib.contextmanager
    def open(self):
        with contextlib.closing(sqlite3.connect(self.path, timeout=30)) as database, database:
            yield database

    def add(self, event):
        """True if it is new. Committed when this returns: then it may be acknowledged."""
        data = event["data"]
        with self.open() as database:
            done = database.execute(
                "INSERT OR IGNORE INTO record VALUES (NULL, ?, ?, ?, ?, ?)",
                (event["id"], event["subject"], data["instance"], data["window_start"],
                 json.dumps(event, default=str)))
            return done.rowcount == 1

    def events(self, month):
        with self.open() as database:
            rows = database.execute(
                "SELECT event FROM record WHERE window_start LIKE ? ORDER BY arrival",
                (month + "-%",))
            for (text,) in rows:
                yield json.loads(text)


def check_event(event):
    """What CloudEvents 1.0 asks of an event, and we of its data."""
    if not isinstance(event, dict):
        raise ValueError("no event")
    for name in ("specversion", "id", "source", "type", "subject", "data"):
        if not event.get(name):
            raise ValueError(f"{name} is missing")
    if event["specversion"] != "1.0" or event["type"] != "io.trunkline.usage.v1":
        raise ValueError("an event of another kind")
    if not isinstance(event["data"], dict):
        raise ValueError("data is no object")


def parse(body):
    # Numbers stay decimal: a bill has no floats in it.
    event = json.loads(body, parse_float=Decimal)
    check_event(event)
    return event


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30  # of a connection that says nothing

    def do_POST(self):
        length = int(self.headers.get("content-length") or 0)
        if length > MOST_BYTES:
            self.close_connection = True  # the body is not read
            return self.answer(413)
        body = self.rfile.read(length)
        try:
            message_id = verify(self.server.secrets, self.headers, body, time.time())
            event = parse(body)
            if event["id"] != message_id:
                raise ValueError("the message has another id than its event")
        except ValueError as error:
            print(f"refused: {error}", file=sys.stderr)
            return self.answer(400)
        self.server.store.add(event)
        return self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


def serve(secrets, port, path):
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.secrets = secrets
    server.store = Store(path)
    return server


def quantities(store, month):
    """Sums by (project, instance, meter); corrections are records like all others."""
    sums = {}
    for event in store.events(month):
        data = event["data"]
        for meter, value in data.items():
            if meter in ("instance", "node", "window_start", "window_end", "kind", "position"):
                continue
            key = (event["subject"], data["instance"], meter)
            sums[key] = sums.get(key, Decimal(0)) + Decimal(str(value))
    return sums


def rate(sums, prices):
    """Lines and a total: quantity * amount / per, rounded once a line, half to even."""
    lines, total = [], Decimal(0)
    for (project, instance, meter), quantity in sorted(sums.items()):
        price = prices.get(meter)
        if price is None or quantity == 0:
            continue
        amount = quantity * Decimal(price["amount"]) / Decimal(price["per"])
        amount = amount.quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN)
        lines.append((project, instance, meter, quantity, amount))
        total += amount
    return lines, total


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve")
    serving.add_argument("--secret-file", required=True, help="one whsec_… a line")
    serving.add_argument("--port", type=int, default=9100)
    adding = commands.add_parser("total")
    adding.add_argument("--month", required=True, help="2026-11")
    adding.add_argument("--prices", default="prices.json")
    for command in (serving, adding):
        command.add_argument("--database", default="usage.sqlite")
    options = parser.parse_args()
    if options.command == "serve":
        with open(options.secret_file, encoding="ascii") as file:
            secrets = file.read().split()
        server = serve(secrets, options.port, options.database)
        print(f"listening on {server.server_address[1]}", flush=True)
        server.serve_forever()
    with open(options.prices, encoding="utf-8") as file:
        prices = json.load(file)
    lines, total = rate(quantities(Store(options.database), options.month), prices)
    for project, instance, meter, quantity, amount in lines:
        print(f"{project}  {instance}  {meter:30} {quantity:>24f} {amount:>12}")
    print(f"{'total':>{36 + 2 + 36 + 2 + 30 + 25}} {total:>12}")


if __name__ == "__main__":
    main()
