"""`make soak HOURS=...`: hours of load with a fault a minute, and the trend of every resource.

    faults (table, scene, proxies, traffic, checks)
        -> plan (faults that a running exporter can have, seeded; duration of each)
        -> load (rows, log lines, rotations) + clients (scrapers, pages; a process of its own) + roll-up
        -> sampling (memory, threads, descriptors, connections, times of answers) -> trends (slope, interval, verdict)
        -> run (all of it, and the checks at the end) -> report (terminal, docs/reliability.md)

One exporter runs from the first second to the last. At the end nothing is lost, and no resource has grown.
"""
