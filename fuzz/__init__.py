"""`make fuzz`: random and mutated inputs to every reader of foreign input, each with a strong property.

targets/      inputs, and the property that must hold: one module per subject
catalogue     all targets by name
corpus        the inputs that broke something once, in corpus/<target>/: replayed by `make test`
mutation      random changes of bytes
campaign      one target under fire: counts executions, keeps the inputs that break the property, made small
engines       where inputs come from: hypothesis, atheris (by coverage), mutation where there is no atheris
worker        a campaign in a process of its own
__main__      `python -m fuzz`: two lanes of workers, the table, docs/reliability.md
"""
