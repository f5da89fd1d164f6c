"""The store: a SQLite file on this machine that holds a stack's catalog, so that a search asks S3 for what is new only.

It is a copy of what S3 has, and is thrown away and made again whenever it cannot be used. Segments of the index never
change, so each is copied once; they stay beside it for other tools. (Somebody may delete the index, so that it is made
anew, with other segments of the same names: their ETags tell.) The catalog objects that no segment has yet are
read one by one. Lines come into it as they are found; which one of a key is current, and which are doubles, is
settled at the end of each refresh.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import batched, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Self

from batch_vision.aws.catalog import PREFIX, catalog_key, read_objects
from batch_vision.aws.index import parse_segment, read_header, read_index
from batch_vision.aws.objects import found, list_entries
from batch_vision.core.catalog import DELETED, identity, media_of, order
from batch_vision.core.errors import CatalogDamagedError, IndexDamagedError
from batch_vision.core.index import BEHIND, LIMITS, damaged, is_catalog_object
from batch_vision.operator.catalog import current_of, written_at
from batch_vision.operator.errors import OperatorError, WrongInputError
from batch_vision.operator.locks import lock
from batch_vision.operator.search.schema import (
    FORMAT,
    INDEX_OF_KEYS,
    INDEXES,
    RIVALS,
    RIVALS_OF_NEW,
    TABLES,
    Rows,
)
from batch_vision.operator.search.selecting import Selection
from batch_vision.operator.user_folders import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from batch_vision.operator.search.query import Order, Query
    from batch_vision.operator.stack import Stack

type Row = dict[str, Any]  # what a line of version 2 has, and `id`, which stays the same while the store is not rebuilt
type Segment = tuple[str, str]  # its key and its ETag
type Progress = Callable[[int, int, str], None]

MOST_LINES = 5_000_000
_PARALLEL = 4
_LINES_AT_ONCE = 10_000
_OBJECTS_AT_ONCE = 500
_CACHE_KIB = 64 * 1024
_CHECKPOINT_PAGES = 16_384


class Store:
    """What the catalog of a stack says, to be searched while its `with` block lasts.

    Searches see the store as it was at the end of `refresh`, whatever other processes do meanwhile. They may come from
    several threads, one at a time.

    Attributes
    ----------
    folder
        Where the store and the copied segments are.
    notes
        What the user should be told: that it was made anew, and why.
    """

    def __init__(self, stack: Stack, most_lines: int = MOST_LINES) -> None:
        self._stack, self._most_lines = stack, most_lines
        self._all = cache_folder() / f"search-{stack.final_bucket_name}"
        # What was kept of a stack of the same name that is no more is of no use.
        self.folder = self._all / stack.identity
        self.notes: list[str] = []
        self._undo = ExitStack()
        self._is_open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    # What is new.

    def refresh(self, progress: Progress = lambda done, total, now: None) -> None:
        """Read what is new in the catalog; interrupted, the next call goes on from there.

        Raises
        ------
        OperatorError
            There are more lines than the store is made for.
        WrongInputError
            The folder cannot be written.
        """
        self._undo.close()
        try:
            with self._alone(progress):
                try:
                    self._load(progress)
                except sqlite3.DatabaseError as error:
                    if not _is_damage(error):
                        raise
                    self._make(f"it was damaged ({error})")
                    self._load(progress)
                finally:
                    if self._is_open:
                        self._make_safe()
                # What searches see begins here, while no other process can add lines that are not settled.
                self._database.execute("BEGIN")
                self._selection = Selection(self._database)
        except (OSError, sqlite3.OperationalError) as error:
            raise WrongInputError(
                f"The store of searches, {self.folder}, cannot be written ({error}). Make room there, or set"
                " XDG_CACHE_HOME to a folder that you may write to."
            ) from error

    @contextmanager
    def _alone(self, progress: Progress) -> Iterator[None]:
        self._all.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._all.chmod(0o700)
        with (self._all / "lock").open("a+", encoding="utf-8") as file:
            lock(file, lambda: progress(0, 0, "another search of this stack reads what is new: waiting for it"))
            for path in self._all.iterdir():
                if path.is_dir() and path != self.folder:
                    shutil.rmtree(path)
            (self.folder / "segments").mkdir(parents=True, exist_ok=True)
            yield

    @property
    def _file(self) -> Path:
        return self.folder / "catalog.sqlite"

    @property
    def _unsafe(self) -> Path:
        """What is there while the store is filled in a way that a process must not die of."""
        return self.folder / "unsafe"

    def _open(self) -> None:
        if self._unsafe.exists():
            self._make("it was being made when its process or the machine ended")
            return
        is_there = self._file.exists()
        try:
            self._connect()
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._make(f"it was damaged ({error})")
        else:
            if version != FORMAT:
                self._make("it was of another version of the tool" if is_there else "")

    def _connect(self) -> None:
        # Transactions are begun by hand. Any thread may use it, for SQLite locks itself.
        self._database = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False, timeout=60)
        self._undo.callback(self._database.close)
        self._is_open = True
        self._execute(f"PRAGMA cache_size = -{_CACHE_KIB}; PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")

    def _make(self, why: str) -> None:
        """Make an empty store; `why` it takes the place of one that was there."""
        if why:
            self.notes.append(f"The store of searches was made anew: {why}.")
        self._undo.close()
        self._is_open = False
        for path in (self._file.with_name(f"{self._file.name}{suffix}") for suffix in ("", "-wal", "-shm")):
            path.unlink(missing_ok=True)
        # Nobody reads it yet, and its text is still beside it: a journal would only be written for nothing.
        self._unsafe.touch()
        self._connect()
        self._execute("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF")
        with self._transaction():
            self._execute(TABLES)
            self._database.execute("INSERT INTO meta VALUES ('settled', 0)")
            self._database.execute(f"PRAGMA user_version = {FORMAT}")

    def _make_safe(self) -> None:
        """Let others read while this writes, and let no end of the process or the machine damage it."""
        self._execute("PRAGMA synchronous = NORMAL; PRAGMA journal_mode = WAL")
        self._unsafe.unlink(missing_ok=True)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.rollback()
            raise
        self._database.commit()

    def _load(self, progress: Progress) -> None:
        self._open()
        self._load_new(progress)

    def _load_new(self, progress: Progress) -> None:
        s3, bucket = self._stack.s3, self._stack.final_bucket_name
        index = read_index(s3, bucket).cursor
        cursor = index.last_key
        known = set(self._database.execute("SELECT key, etag FROM segments"))
        if not known <= {*index.segments}:
            self._make("the index of the catalog was made anew")
            known = set()
        self._remove_copies(index.segments)
        segments = [segment for segment in index.segments if segment not in known]
        objects = self._new_objects(cursor)
        total = len(segments) + len(objects)
        try:
            self._check_room(segments)
            self._load_segments(segments, lambda done: progress(done, total, "segments of the index"))
            self._load_objects(objects, lambda done: progress(len(segments) + done, total, "objects of the catalog"))
        except _TooManyLinesError:
            if not self._database.execute("SELECT 1 FROM objects WHERE key <= ?", (cursor,)).fetchone():
                raise
            # The lines of an object that was read before a segment had it are there twice until all is settled.
            self._make("what it had read from the catalog is in the index by now")
            self._load_new(progress)
            return
        progress(total, total, "which lines are current")
        self._settle(cursor)

    def _new_objects(self, cursor: str) -> list[Any]:
        """List the catalog objects behind the cursor that were not read yet."""
        known = {key for (key,) in self._database.execute("SELECT key FROM objects")}
        # Of what was read without an index, only the end is listed again.
        begin = catalog_key(written_at(max(known)) - BEHIND) if known else ""
        entries = list_entries(self._stack.s3, self._stack.final_bucket_name, PREFIX, max(cursor, begin))
        return [entry for entry in entries if entry["Key"] not in known and is_catalog_object(entry["Key"])]

    def _load_segments(self, segments: list[Segment], progress: Callable[[int], None]) -> None:
        done = 0
        with ThreadPoolExecutor(_PARALLEL) as pool:
            for group in batched(segments, 2 * _PARALLEL, strict=False):  # copied ahead by no more than these
                for segment, path in zip(group, pool.map(self._copy, group), strict=True):
                    try:
                        self._load_segment(segment, path)
                    except IndexDamagedError:  # the copy, if it is not in S3 itself
                        path.unlink()
                        self._load_segment(segment, self._copy(segment))
                    done += 1
                    progress(done)

    def _load_segment(self, segment: Segment, path: Path) -> None:
        key = segment[0]
        number = 1  # the header

        def texts(lines: Iterable[str]) -> Iterator[str]:
            nonlocal number
            for number, text in enumerate(lines, 2):  # noqa: B007 - for the message
                yield text

        with self._transaction(), path.open("rb") as file:
            try:
                self._add(texts(parse_segment(file, key)[1]))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise damaged(
                    f"{key!r} has a line that no function writes, line {number:,} ({error!r}). If an object of the"
                    " catalog has it too, delete that one first."
                ) from error
            self._database.execute("INSERT INTO segments VALUES (?, ?)", segment)

    def _load_objects(self, entries: list[Any], progress: Callable[[int], None]) -> None:
        for number, group in enumerate(batched(entries, _OBJECTS_AT_ONCE, strict=False)):
            progress(number * _OBJECTS_AT_ONCE)
            objects = read_objects(self._stack.s3, self._stack.final_bucket_name, group)
            with self._transaction():
                self._add_objects(objects)
                self._database.executemany("INSERT INTO objects VALUES (?)", ((entry["Key"],) for entry in group))

    def _add_objects(self, objects: Iterable[tuple[str, list[bytes]]]) -> None:
        key = ""

        def texts() -> Iterator[str]:
            nonlocal key
            for key, lines in objects:  # noqa: B007 - for the message
                yield from map(bytes.decode, lines)

        try:
            self._add(texts())
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CatalogDamagedError(
                f"{key!r} has a line that no function writes ({error!r}). Delete this object: its images keep their"
                " results."
            ) from error

    def _copy(self, segment: Segment) -> Path:
        """Copy a segment to this machine; one that was copied by now, whole, is not copied again."""
        path = self._path_of(segment)
        if not path.exists():
            part = path.with_name(f"{path.name}.part")
            key, etag = segment
            answer = found(self._stack.s3.get_object, Bucket=self._stack.final_bucket_name, Key=key)
            if answer is None or answer["ETag"] != etag:
                raise OperatorError(f"{key} was deleted while it was read: the index is made anew. Search again.")
            with part.open("wb") as file:
                shutil.copyfileobj(answer["Body"], file)
            part.replace(path)
        return path

    def _path_of(self, segment: Segment) -> Path:
        key, etag = segment
        return self.folder / "segments" / f"{etag.strip('"')}-{key.replace('/', '-')}"

    def _remove_copies(self, segments: Iterable[Segment]) -> None:
        """Remove the copies of all but some segments."""
        kept = {self._path_of(segment) for segment in segments}
        for path in (self.folder / "segments").iterdir():
            if path not in kept:
                path.unlink()

    def _add(self, texts: Iterable[str]) -> None:
        rows = Rows(self._database)
        for text in texts:
            rows.add(text)
            if len(rows) >= _LINES_AT_ONCE:
                rows.write()
        rows.write()
        # Ids of doubles are not used again, so only a count, which takes longer, is sure.
        if rows.last_id > self._most_lines and self._room() < 0:
            raise self._too_many()

    def _check_room(self, segments: list[Segment]) -> None:
        """Find out before much is copied that there are too many lines, where that may be."""
        room = self._room()
        if len(segments) * LIMITS.most_lines <= room:
            return
        with ThreadPoolExecutor(_PARALLEL) as pool:
            s3, bucket = self._stack.s3, self._stack.final_bucket_name
            headers = pool.map(lambda segment: read_header(s3, bucket, segment[0]), segments)
            if sum(header.lines for header in headers if header) > room:
                raise self._too_many()

    def _room(self) -> int:
        """Return how many more lines may come."""
        (number,) = self._database.execute("SELECT count(*) FROM lines").fetchone()
        return self._most_lines - int(number)

    def _too_many(self) -> _TooManyLinesError:
        return _TooManyLinesError(
            f"The catalog of stack {self._stack.name} has more than {self._most_lines:,} lines, which is the most that"
            " a search on this machine is made for. Ask DuckDB or Athena instead: docs/search.md has the queries. What"
            f" was copied is in {self.folder}, and may be removed."
        )

    # What is current.

    def _settle(self, cursor: str) -> None:
        """Drop doubles, and mark the current line of each key, of the keys that have new lines."""
        with self._transaction():
            (settled,) = self._database.execute("SELECT value FROM meta WHERE name = 'settled'").fetchone()
            self._execute(INDEX_OF_KEYS)
            rivals = self._database.execute(RIVALS_OF_NEW if settled else RIVALS, (settled,) if settled else ())
            changes = _Changes()
            for _, lines in groupby(rivals, itemgetter(1)):
                marks = {number: bool(is_current) for number, _, is_current in lines}
                bodies = {number: self._body(number) for number in marks}
                for media in sorted({media_of(body) for body in bodies.values()}):
                    of_media = {number: body for number, body in bodies.items() if media_of(body) == media}
                    self._settle_key(of_media, marks, changes)
            for table, column in (("lines", "id"), ("bodies", "id"), ("said", "line")):
                self._database.executemany(f"DELETE FROM {table} WHERE {column} = ?", changes.doubles)
            for table, column in (("lines", "id"), ("said", "line")):
                self._database.executemany(f"UPDATE {table} SET is_current = ? WHERE {column} = ?", changes.marks)
            self._execute(INDEXES)
            self._database.execute("UPDATE meta SET value = (SELECT max(id) FROM lines) WHERE name = 'settled'")
            self._database.execute("DELETE FROM objects WHERE key <= ?", (cursor,))

    def _settle_key(self, lines: dict[int, dict[str, Any]], marks: dict[int, bool], changes: _Changes) -> None:
        """Find the doubles and the current one of the lines of an image or a video.

        Parameters
        ----------
        marks
            Which lines are marked as current.
        """
        firsts: dict[Any, int] = {}
        for number, line in lines.items():
            if firsts.setdefault(identity(line), number) != number:
                changes.doubles.append((number,))
        newest = max(order(lines[number]) for number in firsts.values())
        tied = [number for number in firsts.values() if order(lines[number]) == newest]
        current = lines[tied[-1]]
        if len(tied) > 1 and "recorded_at" in current:  # in one second: the result as it stands decides
            s3, bucket = self._stack.s3, self._stack.final_bucket_name
            current = current_of(s3, bucket, [lines[number] for number in tied]) or {}
        for number in firsts.values():
            is_current = lines[number] is current and current["status"] != DELETED
            if is_current != marks[number]:
                changes.marks.append((is_current, number))

    def _body(self, number: int) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(
            self._database.execute("SELECT line FROM bodies WHERE id = ?", (number,)).fetchone()[0]
        )
        return line

    def _execute(self, statements: str) -> None:
        # Not `executescript`, which would commit.
        for statement in statements.split(";"):
            self._database.execute(statement)

    # What is asked for.

    def select(self, query: Query, order: Order, limit: int | None = None, offset: int = 0) -> Iterator[Row]:
        """Return the rows that are wanted, in an order."""
        with self._reading():
            for number in self._selection.ids(query, order, limit, offset):
                yield {"id": number} | self._body(number)

    def count(self, query: Query) -> int:
        """Count the lines that are wanted."""
        with self._reading():
            return self._selection.count(query)

    def facets(self, query: Query) -> dict[str, dict[str, int]]:
        """Count the lines that are wanted by label, kind, status, reason, verdict, model and prefix.

        The most frequent values first, at most `MOST_VALUES` of each facet. A line counts once for each of its labels
        and kinds.
        """
        with self._reading():
            return self._selection.facets(query)

    def models(self) -> list[str]:
        """Return the ids of all models that made a line."""
        return self._selection.models

    def row(self, number: int) -> Row | None:
        """Return the row of an id; None where there is none."""
        with self._reading():
            found = self._database.execute("SELECT line FROM bodies WHERE id = ?", (number,)).fetchone()
            return {"id": number} | json.loads(found[0]) if found else None

    def by_key(self, models: tuple[str, str]) -> Iterator[tuple[Row, list[Row]]]:
        """Return each key that has a current line: that line, and all lines that two models made of it."""
        with self._reading():
            for current, numbers in self._selection.by_key(models):
                yield self._body(current), [self._body(number) for number in numbers]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise OperatorError(
                f"The store of searches, {self.folder}, is damaged ({error}). Remove that folder and call it again:"
                " it is made anew from S3."
            ) from error


class _TooManyLinesError(OperatorError):
    """There are more lines than the store is made for."""


@dataclass
class _Changes:
    """What is to be changed of lines that are in the store.

    Attributes
    ----------
    doubles
        Ids.
    marks
        Whether it is current, and the id.
    """

    doubles: list[tuple[int]] = field(default_factory=list)
    marks: list[tuple[bool, int]] = field(default_factory=list)


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
