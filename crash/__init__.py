"""`make crash`: every system call of a save and of a log's reading fails once and is the last once; the roll-up is
killed at every statement.

    calls (errors of system calls, kinds of files) -> trace (strace: of an ordinary run, with one fault)
    exporting (the exporter and its log, two lives with rotations between, and a third without a fault)
        -> points (faults at each call of the ordinary run) -> strike
    wire (a proxy that kills at a statement) -> days (the table after each kill, and after a following run)
        -> report (terminal, docs/reliability.md)

The calls of an ordinary run decide on the points: a new call is struck too, or fails the run if its errors are not
known.
"""
