"""How a query is asked of the store, in SQL.

SQLite's planner does not know how many lines a condition leaves, so the way is chosen here. Where one that has an index
(names, time, beginning of the key) leaves few lines, these are looked at and sorted. Else the lines are walked in the
order that is wanted until there are enough, which is soon. What few lines differ in is looked up in the cells first,
and is a set of numbers from then on.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from batch_vision.core.catalog import IMAGE, VERDICTS
from batch_vision.core.times import to_text
from batch_vision.operator.search.query import Order
from batch_vision.operator.search.schema import OTHER_FOLDERS, find_name, milliseconds, read_cells

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Container, Iterable, Iterator, Sequence

    from batch_vision.operator.search.query import Query
    from batch_vision.operator.search.schema import Cell

MOST_VALUES = 100  # of a facet
# What is looked at and sorted within some ten milliseconds: lines, and rows of one index.
_FEW = 20_000
_MANY = 100_000

_ORDERS = {
    Order.NEWEST: ("lines_at", "l.at DESC, l.id DESC"),
    Order.OLDEST: ("lines_at", "l.at, l.id"),
    Order.LEAST_CONFIDENT: ("lines_confidence", "l.confidence NULLS LAST, l.id"),
    Order.MOST_CONFIDENT: ("lines_confidence", "l.confidence DESC, l.id DESC"),
    Order.SMALLEST_MARGIN: ("lines_margin", "l.margin NULLS LAST, l.id"),
}
_TIMES = {Order.NEWEST: "DESC", Order.OLDEST: "ASC"}
_DIRECTIONS = {Order.LEAST_CONFIDENT: "ASC", Order.MOST_CONFIDENT: "DESC"}


class _Test(NamedTuple):
    """A condition on table `lines` as l, and its values.

    Attributes
    ----------
    said
        The same as a condition on table `said` as s, where one of its rows makes a line wanted.
    served_by
        The index that finds its lines; empty for none.
    mirrored
        The same as a condition on table `said` as s, each of whose rows tells what the line tells; empty for none.
    """

    sql: str
    values: tuple[Any, ...] = ()
    said: str = ""
    served_by: str = ""
    mirrored: str = ""

    @property
    def source(self) -> str:
        """What follows FROM to find all lines that it lets through."""
        if self.said:
            return f"lines l NOT INDEXED WHERE {self.among_few}"
        return f"lines l INDEXED BY {self.served_by} WHERE {self.sql}"

    @property
    def among_few(self) -> str:
        """The condition where it lets few lines through: these are found once, and no line's predictions looked at."""
        return f"l.id IN (SELECT s.line FROM said s INDEXED BY said_name WHERE {self.said})"


_NONE = _Test("")


@dataclass
class _Wanted:
    """A query, ready to be asked.

    Attributes
    ----------
    cells
        The numbers of the cells that are wanted; None for all of them.
    one
        The test of the only name that is wanted, where it is one.
    """

    is_history: bool
    cells: list[int] | None
    tests: list[_Test] = field(default_factory=list)
    names: list[_Test] = field(default_factory=list)
    one: _Test | None = None

    @property
    def of_cells(self) -> list[_Test]:
        """The cells as a test, for `marks` has them already: a way to find the lines."""
        return [] if self.cells is None else [_Test(f"l.cell IN ({_listed(self.cells)})", served_by="lines_cell")]

    @property
    def is_mirrored(self) -> bool:
        """Whether table `said` can tell by itself which of its rows are of lines that pass the tests."""
        return all(test.mirrored for test in self.tests)

    def marks(self, table: str) -> str:
        """Return the conditions on what `lines` and `said` both have."""
        current = "" if self.is_history else f" AND {table}.is_current"
        return current + ("" if self.cells is None else f" AND {table}.cell IN ({_listed(self.cells)})")


class Selection:
    """Asks a store that nobody changes meanwhile.

    Attributes
    ----------
    models
        The ids of all models that made a line.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._cells = read_cells(database)
        self._folders = {cell.folder for cell in self._cells.values()} - {OTHER_FOLDERS}
        self.models = sorted({cell.model for cell in self._cells.values()} - {""})

    def ids(self, query: Query, order: Order, limit: int | None, offset: int) -> Iterator[int]:
        """Return the ids of the lines that are wanted, in an order."""
        wanted = self._wanted(query)
        index, by = _ORDERS[order]
        by_values: tuple[Any, ...] = ()
        page = (-1 if limit is None else limit, offset)
        tests = wanted.tests + wanted.names
        direction = _DIRECTIONS.get(order)
        first = self._narrowest(wanted.names if direction and wanted.names else [*tests, *wanted.of_cells]) or _NONE
        way = _TIMES.get(order)
        if way and wanted.one and wanted.is_mirrored and self._number(wanted.one, _MANY) <= _MANY:
            hits, values = self._hits(wanted, "{0}.{1}")
            sql = f"{hits} ORDER BY s.at {way}, s.line {way} LIMIT ? OFFSET ?"
            return map(itemgetter(0), self._database.execute(sql, (*values, *page)))
        if direction and wanted.one:
            # The index has the predictions of a name in this order.
            source = f"said s INDEXED BY said_name CROSS JOIN lines l ON l.id = s.line WHERE {wanted.one.said}"
            by = f"s.confidence {direction}, s.line {direction}"
        elif direction and wanted.names:
            source = first.source
            said = " OR ".join(f"({test.said})" for test in wanted.names)
            most = f"SELECT max(s.confidence) FROM said s WHERE s.line = l.id AND ({said.replace('s.name', '+s.name')})"
            by, by_values = f"({most}) {direction}, l.id {direction}", _values(wanted.names)
        elif first is not _NONE and self._number(first) <= _FEW:
            source = first.source
        else:
            source, first = f"lines l INDEXED BY {index} WHERE TRUE", _NONE
        rest = self._rest(tests, first)
        sql = f"SELECT l.id FROM {source}{_and(rest)}{wanted.marks('l')} ORDER BY {by} LIMIT ? OFFSET ?"
        return map(itemgetter(0), self._database.execute(sql, (*first.values, *_values(rest), *by_values, *page)))

    def count(self, query: Query) -> int:
        """Count the lines that are wanted."""
        hits, values = self._hits(self._wanted(query), "count(*)")
        (number,) = self._database.execute(hits, values).fetchone()
        return int(number)

    def facets(self, query: Query) -> dict[str, dict[str, int]]:
        """Count the lines that are wanted by what they tell."""
        wanted = self._wanted(query)
        first = self._narrowest(wanted.tests)
        if wanted.names or not wanted.is_mirrored or (first and self._number(first) <= _FEW):
            hits, values = self._hits(wanted, "{0}.{1} AS id, {0}.cell AS cell")
            # Both at once, so that the hits are looked for once.
            counted = self._database.execute(
                f"WITH hits AS MATERIALIZED ({hits}) SELECT 0, cell, count(*) FROM hits GROUP BY cell UNION ALL"
                " SELECT 1, s.name, count(*) FROM said s WHERE s.line IN (SELECT id FROM hits) AND s.is_first = 1"
                " GROUP BY s.name",
                values,
            ).fetchall()
        else:
            # Both walk an index in the order of what is counted by. (SQLite would look up a line for each row of a test
            # of lines, and sort them.)
            values = _values(wanted.tests)
            counted = self._database.execute(
                "SELECT 0, l.cell, count(*) FROM lines l INDEXED BY lines_counts"
                f" WHERE TRUE{_and(wanted.tests)}{wanted.marks('l')} GROUP BY l.cell"
                " UNION ALL SELECT 1, s.name, count(*) FROM said s INDEXED BY said_name"
                f" WHERE s.is_first = 1{_mirrored(wanted.tests)}{wanted.marks('s')} GROUP BY s.name",
                (*values, *values),
            ).fetchall()
        facets: dict[str, Counter[str]] = {name: Counter() for name in ("label", "kind", *_OF_CELLS)}
        labels = Counter({number: count for is_label, number, count in counted if is_label})
        for number, count in labels.most_common(MOST_VALUES):
            (name,) = self._database.execute("SELECT name FROM names WHERE id = ?", (number,)).fetchone()
            facets["label"][name] = count
        for cell, count in ((self._cells[number], count) for is_label, number, count in counted if not is_label):
            facets["kind"].update(dict.fromkeys(filter(None, cell.kinds), count))
            for name, attribute in _OF_CELLS.items():
                facets[name][getattr(cell, attribute)] += count
        return {name: dict(_most_common(facet)) for name, facet in facets.items()}

    def by_key(self, models: Sequence[str]) -> Iterator[tuple[int, list[int]]]:
        """Return the current line of each key that has one, and the lines that each of some models made of the key.

        A key that an image and a video have is two.
        """
        cells = {number: cell.model for number, cell in self._cells.items() if cell.model in models}
        sql = (
            f"SELECT key, id, cell, is_current FROM lines WHERE is_current OR cell IN ({_listed(cells)})"
            " ORDER BY key, id"
        )
        for lines in self._subjects(self._database.execute(sql)):
            current = next((number for _, number, _, is_current in lines if is_current), None)
            told = [number for _, number, cell, _ in lines if cell in cells]
            if current is not None and len({cells[cell] for _, _, cell, _ in lines if cell in cells}) == len(models):
                yield current, told

    def _subjects(self, rows: Iterable[tuple[str, int, int, bool]]) -> Iterator[list[tuple[str, int, int, bool]]]:
        """Yield the rows of each key, those of an image and of a video apart."""
        for _, of_key in groupby(rows, itemgetter(0)):
            by_media: dict[str, list[tuple[str, int, int, bool]]] = {}
            for row in of_key:
                by_media.setdefault(self._cells[row[2]].media, []).append(row)
            yield from by_media.values()

    def _wanted(self, query: Query) -> _Wanted:
        folders, is_whole = self._folders_of(query.prefix)
        cells = [number for number, cell in self._cells.items() if _is_wanted(cell, query, folders)]
        wanted = _Wanted(query.is_history, cells if len(cells) < len(self._cells) else None)
        lowest, highest = query.min_confidence, query.max_confidence
        bounds = ("" if lowest is None else " AND {0}.confidence >= ?") + (
            "" if highest is None else " AND {0}.confidence <= ?"
        )
        limits = tuple(bound for bound in (lowest, highest) if bound is not None)
        kind = " AND s.is_first = 1" if query.kind is None else f" AND s.kind = {find_name(self._database, query.kind)}"
        for names in filter(None, (query.any_of, *((name,) for name in query.all_of))):
            said = f"s.name {self._among(names)}{kind}{bounds.format('s')}{wanted.marks('s')}"
            wanted.names.append(_Test(_exists(said), limits, said))
        if len(wanted.names) == 1 and len(query.any_of) + len(query.all_of) == 1:
            wanted.one = wanted.names[0]
        if not wanted.names and bounds:
            if query.kind is None:
                of_said = f"TRUE{bounds.format('s').replace('s.confidence', 's.best')}"
                of_lines = f"TRUE{bounds.format('l')}"
                wanted.tests.append(_Test(of_lines, limits, served_by="lines_confidence", mirrored=of_said))
            else:
                wanted.tests.append(_Test(_exists(f"TRUE{kind}{bounds.format('s')}"), limits))
        if query.none_of:
            wanted.tests.append(_Test(f"NOT {_exists(f's.name {self._among(query.none_of)}')}"))
        if query.prefix and not is_whole:
            wanted.tests.append(
                _Test("l.key >= ? AND l.key < ?", (query.prefix, _after(query.prefix)), "", "lines_key")
            )
        for moment, sign in ((query.since, ">="), (query.until, "<=")):
            if moment:
                at = (milliseconds(to_text(moment)),)
                wanted.tests.append(_Test(f"l.at {sign} ?", at, served_by="lines_at", mirrored=f"s.at {sign} ?"))
        return wanted

    def _folders_of(self, prefix: str | None) -> tuple[set[str], bool]:
        """Return the folders of the cells that may have keys with a prefix, and whether all keys of these have it."""
        if not prefix:
            return {*self._folders, OTHER_FOLDERS}, True
        first, slash, _ = prefix.partition("/")
        if slash:
            is_known = first + slash in self._folders
            return {first + slash if is_known else OTHER_FOLDERS}, is_known and prefix == first + slash
        mixed = {cell.folder for cell in self._cells.values()} & {"", OTHER_FOLDERS}
        return {folder for folder in self._folders if folder.startswith(prefix)} | mixed, not mixed

    def _hits(self, wanted: _Wanted, columns: str) -> tuple[str, tuple[Any, ...]]:
        """Return what finds all lines that are wanted, in no order."""
        if wanted.one and wanted.is_mirrored:
            source = f"said s INDEXED BY said_name WHERE {wanted.one.said}{_mirrored(wanted.tests)}"
            return f"SELECT {columns.format('s', 'line')} FROM {source}", (*wanted.one.values, *_values(wanted.tests))
        tests = wanted.names + wanted.tests
        first = self._narrowest([*tests, *wanted.of_cells]) or _Test("TRUE", served_by="lines_cell")
        rest = self._rest(tests, first)
        sql = f"SELECT {columns.format('l', 'id')} FROM {first.source}{_and(rest)}{wanted.marks('l')}"
        return sql, (*first.values, *_values(rest))

    def _narrowest(self, tests: Sequence[_Test]) -> _Test | None:
        """Choose the test that lets the fewest lines through, of those that an index serves."""
        served = [test for test in tests if test.said or test.served_by]
        return min(served, key=self._number, default=None)

    def _rest(self, tests: Sequence[_Test], first: _Test) -> list[_Test]:
        """Return all tests but one, each in the way that is fast for it."""
        return [
            test._replace(sql=test.among_few) if test.said and self._number(test) <= _FEW else test
            for test in tests
            if test is not first
        ]

    def _number(self, test: _Test, most: int = _FEW) -> int:
        """Count the lines that a test lets through, but no more than it takes to know that they are not few."""
        source = f"said s INDEXED BY said_name WHERE {test.said}" if test.said else test.source
        sql = f"SELECT count(*) FROM (SELECT 1 FROM {source} LIMIT {most + 1})"
        return int(self._database.execute(sql, test.values).fetchone()[0])

    def _among(self, names: Sequence[str]) -> str:
        numbers = [find_name(self._database, name) for name in names]
        # SQLite walks an index in order behind an equality only.
        return f"= {numbers[0]}" if len(numbers) == 1 else f"IN ({_listed(numbers)})"


def _is_wanted(cell: Cell, query: Query, folders: Container[str]) -> bool:
    verdict = cell.verdict if query.is_anomalous is None else VERDICTS[query.is_anomalous]
    return (
        query.status in (None, cell.status)
        and query.model in (None, cell.model)
        and query.media in (None, cell.media or IMAGE)
        and (query.kind is None or query.kind in cell.kinds)
        and verdict == cell.verdict
        and cell.folder in folders
    )


_OF_CELLS = {
    "status": "status",
    "reason": "reason",
    "verdict": "verdict",
    "model": "model",
    "media": "media",
    "prefix": "folder",
}


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _exists(said: str) -> str:
    # The plus keeps SQLite from the index of the names: the predictions of a line lie together.
    return f"EXISTS (SELECT 1 FROM said s WHERE s.line = l.id AND {said.replace('s.name', '+s.name')})"


def _and(tests: Sequence[_Test]) -> str:
    return "".join(f" AND {test.sql}" for test in tests)


def _mirrored(tests: Sequence[_Test]) -> str:
    return "".join(f" AND {test.mirrored}" for test in tests)


def _values(tests: Sequence[_Test]) -> tuple[Any, ...]:
    return tuple(value for test in tests for value in test.values)


def _most_common(facet: Counter[str]) -> list[tuple[str, int]]:
    del facet[""]
    return facet.most_common(MOST_VALUES)


def _after(prefix: str) -> str:
    """Return the first text after all that begin with a prefix; SQLite compares texts by their UTF-8."""
    last = ord(prefix[-1])
    if last == sys.maxunicode:
        return _after(prefix[:-1]) if len(prefix) > 1 else prefix * 1024
    return prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)
