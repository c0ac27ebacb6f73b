"""Databases for tests: each test has one as it was after its preparation, under a name that no other test had.

To copy and drop a database costs a quarter of a second of processor time. So one that a test gives back is emptied, and
given to the next test under another name: whatever still knows the old name is cut off, as from one that was dropped.
If anything but rows and sequences of tables that were empty differs from the prepared state, it is dropped instead.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from devstack.databases import Cluster, ServiceDatabase, create_service_database
from devstack.errors import DevstackError

Prepare = Callable[[ServiceDatabase], None]

# All definitions with their numbers and rights, as one line of text.
DEFINITIONS = """
SELECT md5(string_agg(item, '' ORDER BY item)) FROM (
  SELECT concat('class', oid, relname, relkind, relacl, reloptions, relrowsecurity, relpersistence)
    FROM pg_class WHERE oid >= 16384 AND relkind <> 't'
  UNION ALL SELECT concat('column', attrelid, ' ', attnum, attname, atttypid, attnotnull, attidentity, attacl)
    FROM pg_attribute WHERE attrelid >= 16384 AND attnum > 0
  UNION ALL SELECT concat('default', oid, adbin) FROM pg_attrdef
  UNION ALL SELECT concat('constraint', oid, conname, convalidated) FROM pg_constraint WHERE oid >= 16384
  UNION ALL SELECT concat('trigger', oid, tgenabled) FROM pg_trigger
  UNION ALL SELECT concat('index', indexrelid, indisvalid) FROM pg_index WHERE indexrelid >= 16384
  UNION ALL SELECT concat('function', oid, prosrc, proacl) FROM pg_proc WHERE oid >= 16384
  UNION ALL SELECT concat('type', oid, typname) FROM pg_type WHERE oid >= 16384
  UNION ALL SELECT concat('schema', oid, nspname, nspacl) FROM pg_namespace WHERE nspname !~ '^pg_'
  UNION ALL SELECT concat('setting', setconfig) FROM pg_db_role_setting
    WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS items(item);
"""
# A line for every table with rows and every sequence in use.
CONTENTS = """
SELECT string_agg(format('SELECT %L || '' '' || md5(string_agg(t::text, '','' ORDER BY t::text)) FROM %s AS t'
    ' HAVING count(*) > 0', relation, relation), ' UNION ALL ')
  FROM (SELECT c.oid::regclass::text FROM pg_class AS c WHERE relkind = 'r' AND oid >= 16384 ORDER BY 1) AS c(relation)
\\gexec
SELECT concat(schemaname, '.', sequencename, ' ', last_value) FROM pg_sequences WHERE last_value IS NOT NULL ORDER BY 1;
"""
CUT_OFF = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' \\g /dev/null
"""
# Of what was empty: the tables that have rows now, and sequences.
EMPTY = """
SELECT string_agg(format('SELECT %L WHERE EXISTS (SELECT FROM %s)', relation, relation), ' UNION ALL ') AS query
  FROM (SELECT c.oid::regclass::text FROM pg_class AS c WHERE relkind = 'r' AND oid >= 16384) AS c(relation)
  WHERE relation <> ALL (string_to_array(:'kept', ' ')) \\gset
SELECT 'TRUNCATE ' || string_agg(relation, ', ') || ' RESTART IDENTITY CASCADE' FROM (:query) AS filled(relation)
  HAVING count(*) > 0 \\gexec
SELECT setval(format('%I.%I', schemaname, sequencename), start_value, false) FROM pg_sequences
  WHERE last_value IS NOT NULL AND concat(schemaname, '.', sequencename) <> ALL (string_to_array(:'kept', ' '))
  \\g /dev/null
"""


# From here on it has another name.
RENAME = '\\connect postgres\nALTER DATABASE :"name" RENAME TO :"new_name";\n'


@dataclass
class Prepared:
    """A template, what it consists of, and names of copies of it that wait for a test."""

    template: str
    database: ServiceDatabase
    definitions: str
    contents: list[str]
    waiting: list[str] = field(default_factory=list)

    def addresses(self, name: str) -> ServiceDatabase:
        """Of its copy with that name."""
        return ServiceDatabase(*(f"{url.rpartition('/')[0]}/{name}" for url in self.database))


class FreshDatabases:
    """`take` one, use it, `give_back`. For one thread at a time."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._prepared: dict[tuple[str, Prepare], Prepared] = {}
        self._taken: dict[str, Prepared | None] = {}

    def take(self, service: str, prepare: Prepare | None) -> tuple[str, ServiceDatabase]:
        """A database's name and addresses; `prepare` runs once for all who pass the same one."""
        prepared = None if prepare is None else self._prepare(service, prepare)
        if prepared is not None and prepared.waiting:
            name = prepared.waiting.pop()
            database = prepared.addresses(name)
        else:
            name = _new_name(service)
            template = "template1" if prepared is None else prepared.template
            database = create_service_database(self.cluster, service, database=name, template=template)
        self._taken[name] = prepared
        return name, database

    def give_back(self, name: str) -> None:
        """Nobody may use it any more; who still does is cut off."""
        prepared = self._taken.pop(name)
        new_name = _new_name(name.rpartition("_")[0])
        if prepared is not None and self._restored(name, new_name, prepared):
            prepared.waiting.append(new_name)
        else:
            self.cluster.drop_database(name)
            self.cluster.drop_database(new_name)

    def close(self) -> None:
        """Drop what there is."""
        for prepared in self._prepared.values():
            for name in (prepared.template, *prepared.waiting):
                self.cluster.drop_database(name)

    def _restored(self, name: str, new_name: str, prepared: Prepared) -> bool:
        kept = " ".join(line.split(" ")[0] for line in prepared.contents)
        script = CUT_OFF + EMPTY + DEFINITIONS + CONTENTS + RENAME
        try:
            found = self.cluster.psql(script, database=name, kept=kept, name=name, new_name=new_name)
        except DevstackError:  # such as a table that was dropped, or that a leftover transaction holds
            return False
        return found.split("\n") == [prepared.definitions, *prepared.contents]

    def _prepare(self, service: str, prepare: Prepare) -> Prepared:
        key = (service, prepare)
        if key not in self._prepared:
            name = _new_name(service)
            database = create_service_database(self.cluster, service, database=name)
            with ThreadPoolExecutor(1) as pool:  # so that `prepare` may run an event loop within an async test
                pool.submit(prepare, database).result()
            definitions, *contents = self.cluster.psql(CUT_OFF + DEFINITIONS + CONTENTS, database=name).split("\n")
            self._prepared[key] = Prepared(name, database, definitions, contents)
        return self._prepared[key]


def _new_name(service: str) -> str:
    return f"{service.replace('-', '_')}_{secrets.token_hex(6)}"
