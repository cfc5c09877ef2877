"""Servers as child processes on free ports, for the tests, the demo and the bench.

    with PostgresServer(directory) as postgres, psycopg.connect(postgres.url) as connection:
        ...

One file per server, each with a small class (`child.Child`): start, stop, kill, restart on the same port and with the
same data (Valkey keeps none), `url`. No server outlives the process that started it (`leash.py`).
"""
