"""`kundenclub publish`: JSON lines to Kafka, with a progress bar, and an honest account of what was acknowledged."""

import asyncio
import os
import stat
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import BinaryIO

from eventing.kafka import KafkaConfig
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from kundenclub.errors import Explained
from kundenclub.lines import BadLine, read_line
from kundenclub.publisher import Publisher, open_publisher

SHOWN_BAD_LINES = 10
SHOW_EVERY_LINES = 500
LONGEST_LINE_BYTES = 16 * 1024 * 1024

Show = Callable[[int, int], None]
"""Called with the bytes read and the events acknowledged."""


@dataclass
class Outcome:
    """What became of the lines of a file. Only what the broker acknowledged counts as published."""

    sent: Counter[str] = field(default_factory=Counter)
    bad: list[BadLine] = field(default_factory=list)
    acknowledged: int = 0
    seconds: float = 0.0

    def refuse(self, number: int, reason: str) -> None:
        """Note a line that the broker did not take."""
        self.bad.append(BadLine(number, reason))

    def lines(self) -> Iterator[str]:
        """The account as people read it."""
        rate = self.acknowledged / self.seconds if self.seconds else 0.0
        yield f"{self.acknowledged:,} events acknowledged by Kafka in {self.seconds:.1f} s ({rate:,.0f} events/s)"
        if not self.bad:
            yield from (f"  {count:,} {type}" for type, count in sorted(self.sent.items()))
            return
        yield f"{len(self.bad):,} {'line was' if len(self.bad) == 1 else 'lines were'} not published:"
        yield from (f"  line {bad.number}: {bad.reason}" for bad in sorted(self.bad)[:SHOWN_BAD_LINES])
        if len(self.bad) > SHOWN_BAD_LINES:
            yield f"  ... and {len(self.bad) - SHOWN_BAD_LINES:,} more"


def opened(file: str) -> AbstractContextManager[BinaryIO]:
    """The file to publish; "-" is standard input. Raises OSError."""
    if file != "-":
        return open(file, "rb")
    if sys.stdin is None:
        raise Explained("standard input is closed")
    return nullcontext(sys.stdin.buffer)


async def publish(stream: BinaryIO, kafka: KafkaConfig, topic_by_type: Mapping[str, str], console: Console) -> Outcome:
    """Publish all good lines of `stream`. Raises OSError, KafkaError, Explained."""
    outcome = Outcome()
    async with open_publisher(kafka, outcome.refuse) as publisher:
        started = time.perf_counter()
        with _bar(stream, console) as show:
            await _publish_lines(stream, publisher, topic_by_type, outcome, show)
        outcome.seconds = time.perf_counter() - started
        outcome.acknowledged = publisher.acknowledged
    return outcome


async def _publish_lines(
    stream: BinaryIO, publisher: Publisher, topic_by_type: Mapping[str, str], outcome: Outcome, show: Show
) -> None:
    read = number = 0
    async for text in _lines_of(stream):
        read, number = read + len(text), number + 1
        if not text.isspace():
            line = read_line(number, text, topic_by_type)
            if isinstance(line, BadLine):
                outcome.bad.append(line)
            else:
                outcome.sent[line.type] += 1
                await publisher.send(line.message, number)
        if number % SHOW_EVERY_LINES == 0:
            show(read, publisher.acknowledged)
    await publisher.flush()
    show(read, publisher.acknowledged)


async def _lines_of(stream: BinaryIO) -> AsyncIterator[bytes]:
    """The lines; of a pipe or terminal each as soon as it is there, while what was read before is being sent."""
    mode = os.fstat(stream.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stream.isatty()):
        for line in stream:
            yield line
        return
    reader = asyncio.StreamReader(limit=LONGEST_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), stream)
    try:
        while line := await reader.readline():
            yield line
    except ValueError:
        raise Explained(f"a line is longer than {LONGEST_LINE_BYTES:,} bytes; what came before it was sent") from None


@contextmanager
def _bar(stream: BinaryIO, console: Console) -> Iterator[Show]:
    """A bar over the bytes of the file; of a pipe nobody knows how much there is. Without a terminal there is none."""
    columns = (TextColumn("{task.fields[events]:,} acknowledged"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=os.fstat(stream.fileno()).st_size or None, events=0)
        yield lambda read, acknowledged: progress.update(task, completed=read, events=acknowledged)
