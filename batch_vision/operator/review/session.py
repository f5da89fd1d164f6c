"""A review: images, what was said of each, and what is said now."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from batch_vision.core.corrections import (
    SCHEMA_VERSION,
    Correction,
    Upload,
    Verdict,
    box_line,
    counting,
    read_line,
    read_verdict,
)
from batch_vision.core.times import from_text, to_text, utc_now
from batch_vision.operator.corrections import write_corrections

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batch_vision.operator.review.journal import Journal
    from batch_vision.operator.review.rows import Row
    from batch_vision.operator.stack import Stack

_SEND_EVERY_SECONDS = 20.0
_SEND_AT = 500  # corrections
_MOST_JUDGEMENTS = 1000  # of one request


class Session:
    """The images of a review and the corrections of them; its methods may be called from several threads.

    Parameters
    ----------
    said
        All corrections that the bucket has.
    by
        Who judges.
    """

    def __init__(
        self, stack: Stack, rows: Sequence[Row], said: Iterable[Correction], journal: Journal, by: str
    ) -> None:
        self.stack, self.rows, self.by = stack, rows, by
        self._journal = journal
        self._lock = threading.Lock()
        self._by_upload: dict[Upload, list[Correction]] = {}
        # The last correction of a person counts: hers of now must have later times, whatever this machine's clock says.
        self._last_at = datetime.min.replace(tzinfo=UTC)
        for correction in (*said, *journal.waiting):
            self._note(correction)
            if correction.by == by:
                self._last_at = max(self._last_at, from_text(correction.at))
        self._wakes, self._is_over = threading.Event(), False
        self.judged = 0
        self.problem: str | None = None
        judged = Counter(name for row in rows for name in row.predicted)
        given = (name for corrections in self._by_upload.values() for one in corrections for name in one.labels)
        others = (name for row in rows for name, _ in row.predictions)
        # Those that a person gives most likely first; the page has a key for each of the first nine.
        self.labels = list(dict.fromkeys((*(name for name, _ in judged.most_common()), *given, *others)))
        self.models = sorted({row.model for row in rows if row.model})
        self._numbers = {name: number for number, name in enumerate(self.labels)}
        self._model_numbers = {name: number for number, name in enumerate(self.models)}

    def _note(self, correction: Correction) -> None:
        self._by_upload.setdefault(correction.upload, []).append(correction)

    def about(self) -> dict[str, Any]:
        """Return what the page must know before the rows."""
        return {
            "stack": self.stack.name,
            "bucket": self.stack.final_bucket_name,
            "by": self.by,
            "rows": len(self.rows),
            "labels": self.labels,
            "models": self.models,
            "hasSample": any(row.is_sample for row in self.rows),
            **self.state(),
        }

    def state(self) -> dict[str, Any]:
        """Return how far the saving is."""
        return {"waiting": len(self._journal.waiting), "problem": self.problem}

    def compact_rows(self, start: int, stop: int) -> list[list[Any]]:
        """Return rows as the page has them: names and models by their numbers, and the correction that counts."""
        return [self._compact(row) for row in self.rows[start:stop]]

    def _compact(self, row: Row) -> list[Any]:
        return [
            row.key,
            [self._numbers[name] for name in row.predicted],
            [number for name, confidence in row.predictions for number in (self._numbers[name], confidence)],
            row.confidence,
            row.finished_at,
            -1 if row.model is None else self._model_numbers[row.model],
            int(row.is_sample),
            self._counting(row.upload),
            row.margin,
        ]

    def _counting(self, upload: Upload) -> list[Any] | None:
        counts = counting(self._by_upload.get(upload, ())).get(upload)
        if counts is None:
            return None
        boxes = None if counts.boxes is None else [box_line(box) for box in counts.boxes]
        return [str(counts.verdict), [*counts.labels], boxes, counts.by]

    def judge(self, judgements: Any) -> list[list[Any] | None]:
        """Write down judgements; when it returns, the disk has them.

        Parameters
        ----------
        judgements
            As the page sends them: for each ``row``, ``verdict``, ``labels`` and ``boxes``.

        Returns
        -------
        For each the correction that counts now; None where nobody says anything any more.

        Raises
        ------
        ValueError
            One of them is none, or would be none when it is read again; nothing is written down.
        """
        if not isinstance(judgements, list) or not 0 < len(judgements) <= _MOST_JUDGEMENTS:
            raise ValueError(f"judgements is no list of 1 to {_MOST_JUDGEMENTS}")
        with self._lock:
            corrections = [self._read(judgement) for judgement in judgements]
            self._journal.add(corrections)
            for correction in corrections:
                self._note(correction)
            self.judged += len(corrections)
            answer = [self._counting(correction.upload) for correction in corrections]
        if len(self._journal.waiting) >= _SEND_AT:
            self._wakes.set()
        return answer

    def _read(self, judgement: Any) -> Correction:
        if not isinstance(judgement, dict):
            raise ValueError(f"{judgement!r} is no judgement")
        number = judgement.get("row")
        if not isinstance(number, int) or not 0 <= number < len(self.rows):
            raise ValueError(f"row is {number!r}; there are {len(self.rows)}")
        row = self.rows[number]
        verdict = read_verdict(judgement.get("verdict"))
        has_labels = verdict in (Verdict.RIGHT, Verdict.WRONG)
        self._last_at = max(utc_now(), self._last_at + timedelta(milliseconds=1))
        # Read as it will be: what is no correction then would end every command that reads corrections.
        return read_line(
            {
                "schema_version": SCHEMA_VERSION,
                "key": row.key,
                "version_id": row.version_id,
                "etag": row.etag,
                "result": row.result,
                "model": row.model,
                "predicted": [*row.predicted],
                "verdict": verdict,
                "labels": judgement.get("labels") if has_labels else [],
                "boxes": judgement.get("boxes") if has_labels else None,
                "by": self.by,
                "at": to_text(self._last_at),
                "fingerprint": row.fingerprint,
            }
        )

    # The way into the bucket.

    def keep_sending(self) -> None:
        """Send what waits to the bucket now and then, until `end`; for a thread of its own."""
        while not self._is_over:
            self._wakes.wait(_SEND_EVERY_SECONDS)
            self._wakes.clear()
            self.send()

    def send(self) -> bool:
        """Send what waits to the bucket; return whether that has all now."""
        stack = self.stack
        try:
            self._journal.send(lambda batch: write_corrections(stack.s3, stack.final_bucket_name, batch))
        except Exception as error:  # it is on the disk, and is sent again
            self.problem = f"{type(error).__name__}: {error}"
        else:
            self.problem = None
        return not self._journal.waiting

    def end(self) -> None:
        """Let `keep_sending` return."""
        self._is_over = True
        self._wakes.set()
