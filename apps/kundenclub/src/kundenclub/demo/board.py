"""What the demo shows while the year streams: bars in a terminal, elsewhere a line every few seconds."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

LINE_EVERY_S = 5.0
RATE_OVER_S = 5.0


@dataclass(frozen=True)
class Standing:
    """How far the year has come, in events; `silver` and `gold` count members who ever reached the level."""

    published: int
    posted: int
    judged: int
    silver: int
    gold: int
    memory_bytes: int

    @property
    def lag(self) -> int:
        """Events that the slower of the two services has not handled yet."""
        return self.published - min(self.posted, self.judged)


class Board:
    """Shows the newest standing. `say` writes a line above the bars."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._started = time.monotonic()
        self._last_line = self._started
        self._recent: deque[tuple[float, int]] = deque()
        self._bars = Progress(
            TextColumn("{task.description:32}"),
            BarColumn(bar_width=40),
            TextColumn("{task.completed:>9,.0f} of {task.total:,.0f}"),
            console=console,
        )
        self._status = Text("")
        self._tasks: list[TaskID] = []

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While it is shown, the standing is kept up to date."""
        for name in ("published to Kafka", "posted by loyalty", "judged by customer-status"):
            self._tasks.append(self._bars.add_task(name, total=self._total))
        if not self._console.is_terminal:
            yield
            return
        with Live(Group(self._bars, self._status), console=self._console, refresh_per_second=5):
            yield

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def show(self, standing: Standing) -> None:
        """The newest standing."""
        done = (standing.published, standing.posted, standing.judged)
        for task, completed in zip(self._tasks, done, strict=True):
            self._bars.update(task, completed=completed)
        rate = self._rate(min(standing.posted, standing.judged))
        self._status.plain = (
            f"promoted {standing.silver:,} to Silver, {standing.gold:,} to Gold · lag {standing.lag:,} events"
            f" · {rate:,.0f} events/s · {standing.memory_bytes / 2**30:.2f} GiB of memory"
        )
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            self.say(
                f"  {now - self._started:4.0f} s  published {standing.published:,}  posted {standing.posted:,}"
                f"  judged {standing.judged:,}  {self._status.plain}"
            )

    def _rate(self, handled: int) -> float:
        now = time.monotonic()
        self._recent.append((now, handled))
        while now - self._recent[0][0] > RATE_OVER_S:
            self._recent.popleft()
        since, before = self._recent[0]
        return (handled - before) / (now - since) if now > since else 0.0
