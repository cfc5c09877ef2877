"""The HTTP server of both ports: uvicorn, with limits on what a client may send, hold and wait for.

    server      accepts connections, starts and ends                web.py ──> the metrics port
      ├─ connections   at most so many; their time limits    ──>
      └─ protocol      HTTP/1.1: sizes, framing, refusals           admin/ ──> the admin port

A client that sends invalid or oversized requests, is too slow, or does not read its responses gets an error or is
disconnected, and delays no other client. None of that is logged.
"""
