"""The schema of a database, read from PostgreSQL's catalogue: tables, columns, and what has a name of its own."""

from dataclasses import dataclass, field

# One row a column, in the words of PostgreSQL's own catalogue.
COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       pg_get_expr(d.adbin, d.adrelid), a.attidentity <> '',
       EXISTS (SELECT 1 FROM pg_constraint k
                WHERE k.conrelid = c.oid AND k.contype = 'p' AND a.attnum = ANY (k.conkey)),
       (SELECT k.confrelid::regclass::text FROM pg_constraint k
         WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.conkey = ARRAY[a.attnum] LIMIT 1)
  FROM pg_class c
  LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'alembic_version'
 ORDER BY c.relname, a.attnum
"""

# From PostgreSQL 18 on NOT NULL is a constraint, too (contype 'n'); it is shown with its column everywhere.
# The columns of an index come from pg_depend, which also knows those inside of an expression or a WHERE.
PARTS = """
SELECT r.relname,
       CASE contype WHEN 'p' THEN 'primary key' WHEN 'f' THEN 'foreign key' WHEN 'u' THEN 'unique' ELSE 'check' END,
       conname, pg_get_constraintdef(k.oid),
       ARRAY(SELECT a.attname::text FROM pg_attribute a
              WHERE a.attrelid = conrelid AND a.attnum = ANY (conkey) ORDER BY 1)
  FROM pg_constraint k JOIN pg_class r ON r.oid = conrelid
 WHERE r.relnamespace = 'public'::regnamespace AND contype IN ('p', 'f', 'u', 'c', 'x')
UNION ALL
SELECT r.relname, 'index', indexrelid::regclass::text,
       regexp_replace(pg_get_indexdef(indexrelid), '^CREATE (UNIQUE )?INDEX \\S+ ON \\S+ ', '\\1')
           || CASE WHEN indisvalid THEN '' ELSE ' INVALID' END,
       ARRAY(SELECT DISTINCT a.attname::text FROM pg_depend d
               JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
              WHERE d.objid = indexrelid AND d.refobjid = indrelid ORDER BY 1)
  FROM pg_index JOIN pg_class r ON r.oid = indrelid
 WHERE r.relnamespace = 'public'::regnamespace
   AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid)
UNION ALL
SELECT r.relname, 'sequence', s.oid::regclass::text, 'of ' || a.attname, ARRAY[a.attname::text]
  FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
  JOIN pg_class r ON r.oid = d.refobjid
  JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
 WHERE r.relnamespace = 'public'::regnamespace AND d.deptype IN ('a', 'i')
 ORDER BY 1, 2, 3
"""


@dataclass(frozen=True)
class Column:
    """One column as the catalogue describes it."""

    name: str
    type: str
    required: bool
    default: str | None
    counted: bool
    key: bool
    refers_to: str | None

    def notes(self) -> str:
        """What there is to say beside the type."""
        return ", ".join(
            note
            for note in (
                "primary key" if self.key else "not null" if self.required else "",
                f"default {self.default}" if self.default and not self.counted else "",
                f"refers to {self.refers_to}" if self.refers_to else "",
            )
            if note
        )

    def __str__(self):
        return f"{self.type}  {self.notes()}".rstrip()


@dataclass(frozen=True)
class Part:
    """What has a name of its own on a table: key, constraint, index or sequence. `columns` are those concerned."""

    kind: str
    name: str
    definition: str
    columns: tuple[str, ...]

    def __str__(self):
        return f"{self.kind} {self.definition}"


@dataclass
class Table:
    """A table: its columns by name, in their order, and its parts."""

    columns: dict[str, Column] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)


@dataclass
class Schema:
    """The tables of a database by name, without Alembic's own."""

    tables: dict[str, Table] = field(default_factory=dict)

    @classmethod
    def read(cls, cursor) -> "Schema":
        """The schema of the database that `cursor` is connected to."""
        schema = cls()
        cursor.execute(COLUMNS)
        for table, *column in cursor.fetchall():
            columns = schema.tables.setdefault(table, Table()).columns
            if column[0] is not None:  # a table may have no column
                columns[column[0]] = Column(*column)
        cursor.execute(PARTS)
        for table, kind, name, definition, columns in cursor.fetchall():
            if table in schema.tables:
                schema.tables[table].parts.append(Part(kind, name, definition, tuple(columns)))
        return schema


LEGEND = "(- is missing, + is too much, ~ is different)"


def differences(before: Schema, after: Schema) -> list[tuple[str, tuple[str, ...], str]]:
    """What differs between two schemas: the table, the columns concerned, and a line that begins with +, - or ~."""
    then, now = _flat(before), _flat(after)
    found = []
    for key in sorted(then.keys() | now.keys()):
        (old, columns), (new, _) = then.get(key, now.get(key)), now.get(key, then.get(key))
        table, name = key
        if key not in now:
            found.append((table, columns, f"- {name}  {old}".rstrip()))
        elif key not in then:
            found.append((table, columns, f"+ {name}  {new}".rstrip()))
        elif old != new:
            found.append((table, columns, f"~ {name}  {new}, was {old}"))
    return found


def _flat(schema: Schema) -> dict[tuple[str, str], tuple[str, tuple[str, ...]]]:
    flat = {}
    for name, table in schema.tables.items():
        flat[name, name] = ("table", ())
        flat |= {(name, f"{name}.{column.name}"): (str(column), (column.name,)) for column in table.columns.values()}
        flat |= {(name, f"{name}: {part.name}"): (str(part), part.columns) for part in table.parts}
    return flat
