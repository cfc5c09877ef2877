"""The rights of the exporter's role: those that it needs on every table, and no others; and the sight of all rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from exporter.doctor.findings import Finding, Findings, check, listed, look, ok, wrong
from exporter.doctor.installation import Installation
from exporter.doctor.postgres import brief
from exporter.doctor.tables import needed, quoted, read_tables
from exporter.errors import CollectionFailed
from exporter.inputs import DAILY
from exporter.sources.postgres import Transaction

_ROLE = """
SELECT quote_ident(current_user), rolsuper, rolcreaterole OR rolcreatedb OR rolreplication, rolbypassrls
FROM pg_roles WHERE rolname = current_user
"""

_SCHEMAS = r"""
SELECT nspname::text, has_schema_privilege(pg_namespace.oid, 'USAGE'),
       nspname = ANY(regexp_split_to_array(
         replace(replace(current_setting('search_path'), '"$user"', current_user), '"', ''), '\s*,\s*'))
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relname = %(name)s AND relkind IN ('r', 'v', 'm', 'p', 'f') AND nspname !~ '^(pg_|information_schema$)'
ORDER BY 3 DESC, 1
"""

# A right is granted to the role, to a role of which it is a member, or to all: it has to be revoked from that one.
_WRITES = """
SELECT string_agg(DISTINCT kind, ', '), oid::regclass::text,
       coalesce((SELECT string_agg(DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC'
                                                 ELSE quote_ident(pg_get_userbyid(grantee)) END, ', ')
                 FROM aclexplode(relacl) WHERE privilege_type = ANY(%(writes)s) AND grantee <> relowner
                   AND (grantee = 0 OR pg_has_role(grantee, 'USAGE'))), ''),
       pg_has_role(relowner, 'USAGE')
FROM pg_class, unnest(%(writes)s::text[]) AS kind
WHERE relkind IN ('r', 'v', 'm', 'p', 'f') AND relnamespace::regnamespace::text !~ '^(pg_|information_schema$)'
  AND has_schema_privilege(relnamespace, 'USAGE') AND has_table_privilege(oid, kind)
GROUP BY oid, relacl, relowner ORDER BY 2
"""

_OTHERS = """
SELECT oid::regclass::text,
       coalesce((SELECT string_agg(DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC'
                                                 ELSE quote_ident(pg_get_userbyid(grantee)) END, ', ')
                 FROM aclexplode(relacl) WHERE privilege_type = 'SELECT' AND grantee <> relowner
                   AND (grantee = 0 OR pg_has_role(grantee, 'USAGE'))), '')
FROM pg_class
WHERE relkind IN ('r', 'v', 'm', 'p', 'f') AND relnamespace::regnamespace::text !~ '^(pg_|information_schema$)'
  AND has_schema_privilege(relnamespace, 'USAGE') AND has_table_privilege(oid, 'SELECT')
  AND relname <> ALL(%(names)s::text[])  -- in whatever schema: rights.tables names those that are not found
  AND NOT pg_has_role(relowner, 'USAGE')
  AND NOT EXISTS (SELECT FROM pg_depend WHERE pg_depend.objid = pg_class.oid AND deptype = 'e')
ORDER BY 1
"""

WRITES = ["INSERT", "UPDATE", "DELETE", "TRUNCATE"]


@check("rights.tables", cheap=True)
async def tables(installation: Installation) -> Findings:
    """The role finds every table or view that the collectors read, and may read each needed column."""
    wanted = needed(installation)
    findings: list[Finding] = []
    async with brief(installation) as transaction:
        ((role, *_),) = await transaction.rows(_ROLE)
        found = await read_tables(transaction, wanted)
        for name, columns in wanted.items():
            table = found.get(name)
            if table is None:
                findings.append(await _not_found(transaction, name, columns, role))
                continue
            present = [column for column in columns if column in table.columns]
            unreadable = [column for column in present if not table.columns[column].readable]
            if unreadable or not table.readable:
                findings.append(
                    wrong(
                        f"{role} may not read {listed(f'{name}.{column}' for column in unreadable) or name}",
                        f"GRANT SELECT ON TABLE {quoted(table.schema)}.{quoted(name)} TO {role};",
                    )
                )
    return findings or [ok(f"{role} may read all {len(wanted)} tables")]


async def _not_found(transaction: Transaction, name: str, columns: Iterable[str], role: str) -> Finding:
    for schema, usage, on_path in await transaction.rows(_SCHEMAS, {"name": name}):
        if on_path and not usage:
            mend = f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {role};"
            return wrong(f"{name} is in the schema {schema}, which {role} may not use", mend)
        if not on_path:
            ((path,),) = await transaction.rows("SELECT current_schemas(false)::text[]")
            mend = f"ALTER ROLE {role} SET search_path = {', '.join(map(quoted, (*path, schema)))};"
            if not usage:
                mend += f"\nGRANT USAGE ON SCHEMA {quoted(schema)} TO {role};"
            return wrong(f"{name} is in the schema {schema}, which is not on the search_path of {role}", mend)
    if name == DAILY:
        return look(f"there is no table {name}: no daily roll-up is installed", "python -m rollup --migrate")
    return wrong(
        f"there is no table or view {name}",
        f"CREATE VIEW {name} AS SELECT ... FROM your_table;  -- columns: {', '.join(columns) or 'any'}",
    )


@check("rights.writes", cheap=True)
async def writes(installation: Installation) -> Findings:
    """The role may write nothing: a reader that could is a door."""
    async with brief(installation) as transaction:
        ((role, superuser, powerful, _),) = await transaction.rows(_ROLE)
        if superuser:
            mend = f"ALTER ROLE {role} NOSUPERUSER;  -- or a role of its own, with: python -m rollup --migrate --grant"
            return [look(f"{role} is a superuser: it may do everything", mend)]
        found = await transaction.rows(_WRITES, {"writes": WRITES})
    findings = []
    for kinds, table, holders, owns in found:
        if owns:
            mend = "connect as a role of its own: python -m rollup --migrate --grant exporter=hivesync_exporter"
            findings.append(wrong(f"{role} owns {table}, or is a member of its owner", mend))
        else:
            mend = f"REVOKE {kinds} ON {table} FROM {holders or role};"
            findings.append(wrong(f"{role} may {kinds} {table}", mend))
    if powerful:
        mend = f"ALTER ROLE {role} NOCREATEROLE NOCREATEDB NOREPLICATION;"
        findings.append(look(f"{role} may create roles or databases, or replicate", mend))
    return findings or [ok(f"{role} may write nothing")]


@check("rights.others")
async def others(installation: Installation) -> Findings:
    """The role may read no table beside those that it needs: passwords and code are none of its business."""
    async with brief(installation) as transaction:
        ((role, superuser, *_),) = await transaction.rows(_ROLE)
        if superuser:
            return [ok("a superuser reads everything: see rights.writes")]
        found = await transaction.rows(_OTHERS, {"names": list(needed(installation))})
    by_holder: defaultdict[str, list[str]] = defaultdict(list)
    for table, holders in found:
        by_holder[holders or role].append(table)
    findings = [
        look(f"{role} may also read {listed(found)}", f"REVOKE SELECT ON {', '.join(found)} FROM {holder};")
        for holder, found in by_holder.items()
    ]
    return findings or [ok(f"{role} may read nothing else")]


@check("rights.rows", cheap=True)
async def row_security(installation: Installation) -> Findings:
    """Row level security hides no rows from the role."""
    refused = []
    async with brief(installation) as transaction:
        ((role, *_),) = await transaction.rows(_ROLE)
        for name, table in (await read_tables(transaction, needed(installation))).items():
            if not table.readable:
                continue
            readable = next((column for column, facts in table.columns.items() if facts.readable), None)
            if readable is None:
                continue
            try:
                async with transaction.savepoint():
                    await transaction.rows(f"SELECT {quoted(readable)} FROM {quoted(name)} LIMIT 0")
            except CollectionFailed as error:
                if "row-level security" in error.detail:
                    refused.append(name)
                else:
                    raise
    if refused:
        found = (
            f"row level security would hide rows of {listed(refused)} from {role}, and PostgreSQL refuses the queries"
        )
        return [wrong(found, f"ALTER ROLE {role} BYPASSRLS;")]
    return [ok(f"{role} sees all rows")]


CHECKS = (tables, writes, others, row_security)
