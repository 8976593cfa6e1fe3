"""psycopg (3), asyncpg, and SQLAlchemy over asyncpg. README.md says what it does."""

import asyncio
import json
import os
import sys
import threading
import time
import traceback

DRIVER, HOST, PORT, POOLED_PORT, ENDPOINT, USER, DATABASE = sys.argv[1:8]
PASSWORD = os.environ["PGPASSWORD"]
OPTIONS = f"-c trunkline.endpoint={ENDPOINT}"
PORTS = {"direct": int(PORT), "pooled": int(POOLED_PORT)}
PAUSE_S = 0.1
seen = {}


def clear():
    seen.update({way: {"acknowledged": 0, "errors": {}, "wrong": []} for way in PORTS})


def failed(way, error):
    error = getattr(error, "orig", error)
    state = getattr(error, "sqlstate", None) or type(error).__name__
    errors = seen[way]["errors"]
    errors[f"{state}: {error}"[:200]] = errors.get(f"{state}: {error}"[:200], 0) + 1


def expect(way, got, wanted):
    if got != wanted:
        seen[way]["wrong"].append(f"{got!r} for {wanted!r}")


def question(client, marker):
    """Alike for no two clients, nor their answers."""
    return f"select 'client {client} ' || {marker}::int"


def psycopg_client(way, client):
    import psycopg
    conn, n = None, 0
    insert = "insert into driven values (%s, %s, %s, %s)"
    while True:
        try:
            if conn is None:
                options = OPTIONS if way == "pooled" else ""
                conn = psycopg.connect(host=HOST, port=PORTS[way], user=USER, dbname=DATABASE,
                                       password=PASSWORD, options=options, connect_timeout=30)
            n += 1
            row = conn.execute(question(client, "%s"), (n,)).fetchone()
            expect(way, row[0], f"client {client} {n}")
            conn.execute(insert, (DRIVER, way, client, n))
            conn.commit()
            seen[way]["acknowledged"] += 1
        except psycopg.Error as error:
            failed(way, error)
            if conn is not None:
                conn.close()
            conn = None
        time.sleep(PAUSE_S)


def asyncpg_errors():
    """The last is what it says when an answer and a FATAL after it come at once."""
    import asyncpg
    return (OSError, asyncio.TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError,
            asyncpg.InternalClientError)


async def asyncpg_client(way, client):
    import asyncpg
    conn, n = None, 0
    while True:
        try:
            if conn is None:
                settings = {"options": OPTIONS} if way == "pooled" else {}
                conn = await asyncpg.connect(host=HOST, port=PORTS[way], user=USER,
                                             database=DATABASE, password=PASSWORD, timeout=30,
                                             server_settings=settings)
            n += 1
            got = await conn.fetchval(question(client, "$1"), n)
            expect(way, got, f"client {client} {n}")
            async with conn.transaction():
                await conn.execute("insert into driven values ($1, $2, $3, $4)", DRIVER, way,
                                   client, n)
            seen[way]["acknowledged"] += 1
        except asyncpg_errors() as error:
            failed(way, error)
            if conn is not None:
                conn.terminate()
            conn = None
        await asyncio.sleep(PAUSE_S)


async def sqlalchemy_client(way, client):
    from sqlalchemy import exc, text
    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import create_async_engine
    settings = {"options": OPTIONS} if way == "pooled" else {}
    engine = create_async_engine(
        URL.create("postgresql+asyncpg", USER, PASSWORD, HOST, PORTS[way], DATABASE),
        connect_args={"server_settings": settings})
    insert = text("insert into driven values (:driver, :way, :client, :n)")
    n = 0
    while True:
        n += 1
        try:
            async with engine.connect() as conn:
                got = await conn.scalar(text(f"select 'client {client} ' || cast(:n as int)"),
                                        {"n": n})
                expect(way, got, f"client {client} {n}")
                await conn.execute(insert, {"driver": DRIVER, "way": way, "client": client,
                                            "n": n})
                await conn.commit()
            seen[way]["acknowledged"] += 1
        except (exc.SQLAlchemyError, *asyncpg_errors()) as error:  # not all of them are wrapped
            failed(way, error)
        await asyncio.sleep(PAUSE_S)


def to_the_end(client_of, *arguments):
    """What a client did not expect ends the program."""
    try:
        client_of(*arguments)
    finally:
        traceback.print_exc()
        os._exit(1)


def run_async(client_of):
    async def all_of_them():
        await asyncio.gather(*(client_of(way, client) for way in PORTS for client in (1, 2)))
    asyncio.run(all_of_them())


def main():
    clear()
    if DRIVER == "psycopg":
        threads = [threading.Thread(target=to_the_end, args=(psycopg_client, way, client),
                                    daemon=True)
                   for way in PORTS for client in (1, 2)]
    else:
        client_of = {"asyncpg": asyncpg_client, "sqlalchemy": sqlalchemy_client}[DRIVER]
        threads = [threading.Thread(target=to_the_end, args=(run_async, client_of), daemon=True)]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    for _ in sys.stdin:
        report = json.dumps(seen)
        clear()
        print(report, flush=True)
    os._exit(0)


main()
