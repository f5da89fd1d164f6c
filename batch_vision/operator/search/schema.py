"""The tables of the store, and how a line of the catalog becomes rows of them.

A line is a row of `lines`, with its whole text in `bodies`, so that the columns that are searched lie close together.
What few lines differ in (status, reason, verdict, model, first folder of the key, media, kinds) is a row of `cells`,
and each name and kind of a prediction one of `said`: counts by any of them need no text. Confidence and time of a line
are in its rows of `said` too: what many lines are counted by must be in one index, in its order.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from batch_vision.core.catalog import DELETED, margin_of, moment_of, upgraded, verdict_of
from batch_vision.core.times import from_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

FORMAT = 3  # of the tables; a store of another one is built anew

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE segments (key TEXT PRIMARY KEY, etag TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE objects (key TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE cells (id INTEGER PRIMARY KEY, told TEXT NOT NULL UNIQUE);
CREATE TABLE lines (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL, at INTEGER NOT NULL, confidence REAL, margin REAL, cell INTEGER NOT NULL,
  is_current INTEGER NOT NULL
);
CREATE TABLE bodies (id INTEGER PRIMARY KEY, line TEXT NOT NULL);
CREATE TABLE said (
  line INTEGER, name INTEGER, kind INTEGER, is_first INTEGER NOT NULL, confidence REAL NOT NULL,
  cell INTEGER NOT NULL, is_current INTEGER NOT NULL, best REAL NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (line, name, kind)
) WITHOUT ROWID;
"""
# Made when the first lines are in: sorting them at once is faster than one insertion after the other.
INDEX_OF_KEYS = "CREATE INDEX IF NOT EXISTS lines_key ON lines (key, is_current, cell)"
INDEXES = """
CREATE INDEX IF NOT EXISTS lines_at ON lines (at, is_current);
CREATE INDEX IF NOT EXISTS lines_confidence ON lines (confidence, is_current);
CREATE INDEX IF NOT EXISTS lines_margin ON lines (margin, is_current);
CREATE INDEX IF NOT EXISTS lines_cell ON lines (cell, is_current);
CREATE INDEX IF NOT EXISTS lines_counts ON lines (cell, is_current, confidence, at);
CREATE INDEX IF NOT EXISTS said_name ON said (name, is_first, confidence, line, kind, cell, is_current, best, at);
"""
# The lines of the keys that have several; of all keys, or of those that have one after a given id.
_SEVERAL = "SELECT id, key, is_current FROM lines WHERE key IN ({}) ORDER BY key, id"
RIVALS = _SEVERAL.format("SELECT key FROM lines GROUP BY key HAVING count(*) > 1")
RIVALS_OF_NEW = _SEVERAL.format(
    "SELECT key FROM lines WHERE key IN (SELECT key FROM lines WHERE id > ?) GROUP BY key HAVING count(*) > 1"
)
INSERT_LINES = "INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?, ?)"
INSERT_BODIES = "INSERT INTO bodies VALUES (?, ?)"
INSERT_SAID = "INSERT INTO said VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

_MOST_FOLDERS = 1000  # more are counted together: a pile may have a folder for each image
_MOST_NAMES_AT_HAND = 100_000  # text that was read in images is a name too, and has no end
OTHER_FOLDERS = "…"


class Cell(NamedTuple):
    """What few lines differ in; empty where a line does not tell it, as the media of an image."""

    status: str
    reason: str
    verdict: str
    model: str
    folder: str
    media: str
    kinds: tuple[str, ...]


class Rows:
    """Makes the rows of lines, some thousand lines at a time."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._last_id = database.execute("SELECT coalesce(max(id), 0) FROM lines").fetchone()[0]
        cells = read_cells(database)
        self._cells: dict[tuple[Any, ...], int] = {cell: number for number, cell in cells.items()}
        self._folders = {cell.folder for cell in cells.values()}
        self._names: dict[str, int] = {}
        self._lines: list[Sequence[Any]] = []
        self._bodies: list[Sequence[Any]] = []
        self._said: list[Sequence[Any]] = []

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def last_id(self) -> int:
        """Of the rows that were made, or of the table."""
        return int(self._last_id)

    def add(self, text: str) -> None:
        """Make the rows of a line, which is given as the JSON that it is written as."""
        read = json.loads(text)
        line = upgraded(read)
        if line is not read:
            text = json.dumps(line)
        if "\\ud" in text:  # JSON can say half of a surrogate pair, which SQLite cannot hold
            text = json.dumps(line, ensure_ascii=False).encode(errors="replace").decode()
            line = json.loads(text)
        self._last_id = number = self._last_id + 1
        status, key, anomaly = line["status"], line["key"], line.get("anomaly")
        predictions = line.get("predictions") or ()
        is_current = status != DELETED
        kinds = {said["kind"] or "" for said in predictions}
        told = (status, line.get("error_type") or "", verdict_of(anomaly), line.get("model") or "", self._folder(key))
        cell = self._cell((*told, line.get("media") or "", tuple(kinds if len(kinds) < 2 else sorted(kinds))))
        leading = predictions[0] if predictions else anomaly
        confidence = leading and leading["confidence"]
        at = milliseconds(moment_of(line))
        self._lines.append((number, key, at, confidence, margin_of(predictions), cell, is_current))
        self._bodies.append((number, text))
        seen: set[tuple[str, str | None] | str] = set()
        for said in predictions:
            name, kind = said["name"], said["kind"]
            if (name, kind) not in seen:  # the most confident one comes first
                row = (number, self._name(name), self._name(kind or ""), name not in seen, said["confidence"])
                self._said.append((*row, cell, is_current, confidence, at))
                seen.add(name)
                seen.add((name, kind))

    def write(self) -> None:
        """Write the rows that were made since the last time."""
        self._database.executemany(INSERT_LINES, self._lines)
        self._database.executemany(INSERT_BODIES, self._bodies)
        self._database.executemany(INSERT_SAID, self._said)
        for rows in (self._lines, self._bodies, self._said):
            rows.clear()

    def _folder(self, key: str) -> str:
        folder, slash, _ = key.partition("/")
        if not slash:
            return ""
        folder += slash
        if folder not in self._folders:
            if len(self._folders) >= _MOST_FOLDERS:
                return OTHER_FOLDERS
            self._folders.add(folder)
        return folder

    def _cell(self, cell: tuple[Any, ...]) -> int:
        number = self._cells.get(cell)
        if number is None:
            number = self._cells[cell] = len(self._cells) + 1
            self._database.execute("INSERT INTO cells VALUES (?, ?)", (number, json.dumps(cell)))
        return number

    def _name(self, name: str) -> int:
        number = self._names.get(name)
        if number is None:
            if len(self._names) >= _MOST_NAMES_AT_HAND:
                self._names.clear()
            self._database.execute("INSERT OR IGNORE INTO names (name) VALUES (?)", (name,))
            number = self._names[name] = find_name(self._database, name)
        return number


def milliseconds(text: str) -> int:
    """Return a time as the tables have it."""
    return round(1000 * from_text(text).timestamp())


def find_name(database: sqlite3.Connection, name: str) -> int:
    """Return the number of a name or a kind; 0, which no name has, where no line has it."""
    row = database.execute("SELECT id FROM names WHERE name = ?", (name,)).fetchone()
    return row[0] if row else 0


def read_cells(database: sqlite3.Connection) -> dict[int, Cell]:
    """Return the cells by their number."""
    answer = {}
    for number, text in database.execute("SELECT id, told FROM cells"):
        *told, kinds = json.loads(text)
        answer[number] = Cell._make((*told, tuple(kinds)))
    return answer
