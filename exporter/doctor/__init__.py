"""The doctor: examines an installation, and names each fault with its exact mend (docs/operating.md#doctor).

    findings.py   Finding, Check: the concepts
    one module per subject: a function per check, beside the thing that it checks
    subjects.py   all of them, in the order of the table
    run.py        limits; a check that fails is a finding
    printing.py   a table, or JSON
    start.py      the cheap checks at the start of the service

`python -m exporter doctor` makes every check. The service makes the cheap ones once after its start, and logs what is
wrong as `doctor.found`.
"""
