"""Asks over the PostgreSQL protocol as a driver does, and prints the answers as JSON, a line each.

ask.py PORT STATEMENT [PARAMETER ...]
"""
import decimal
import json
import sys

import psycopg

port, statement, *parameters = sys.argv[1:]


def plain(value):
    return float(value) if isinstance(value, decimal.Decimal) else value if isinstance(value, (int, float)) else str(value)


with psycopg.connect(f"host=127.0.0.1 port={port} user=test dbname=pilotlight", autocommit=True) as connection:
    # Twice, prepared on the server: what is prepared must work again.
    for _ in range(2):
        with connection.cursor() as cursor:
            cursor.execute(statement, [int(p) if p.isdigit() else p for p in parameters], prepare=True)
            rows = [[None if value is None else plain(value) for value in row] for row in cursor.fetchall()]
print(json.dumps(rows))
