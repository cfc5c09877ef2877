"""`make faults`: the exporter as a process, real servers behind proxies, one fault after the other, then pairs of them.

    promises -> table (Fault, @fault) -> network, postgres, postgres_tables, redis, logs, state, process, clients
    scene (servers, proxies, traffic, exporters) + watch (answers beside those of a control server)
        -> run (strike, wait, check) -> report (terminal, docs/reliability.md)

A fault is one function: it strikes, yields while the fault lasts, and ends it. The rest is the same for all of them:
the exporter works, is struck, shows the fault in the expected way and no other, works again, and has lost nothing.
"""
