"""Attacks on a running instance on this machine, each with a verdict: `make attack`, `python -m attack`.

    stage (the demo, or URLs) -> target -> classes/ (attacks, as data where possible) -> suite -> report
                                   wire (bounded connections)

The suite sees what a client sees. It shares no code with the parts it attacks: its limits are promises of
docs/security.md, read generously. With the settings of the instance in the environment it also attacks as an admin, and
as another process of the same user. Only loopback addresses are attacked, in a bounded time, with a bounded number of
connections and bytes.
"""
