"""The club as a picture. Also a program, so that drawing runs beside other work and its memory is given back.

python -m kundenclub.demo.picture FILE.png < picture.json
"""

import sys
from datetime import date
from pathlib import Path

import msgspec

COLOURS = {"basis": "#c9c2b5", "silver": "#8d99a6", "gold": "#d4a017", "A": "#1f6f5c", "B": "#5aa78f", "C": "#b8d8cd"}


class Share(msgspec.Struct):
    """What an ABC class consists of."""

    members: int
    revenue_cents: int


class Picture(msgspec.Struct):
    """What is drawn: members at each level on some days, and the revenue of each ABC class on the last of them."""

    days: list[date]
    members_by_level: dict[str, list[int]]
    shares_by_class: dict[str, Share]


def draw(picture: Picture, file: Path) -> None:
    """Write it as PNG, without a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    levels, classes = figure.subplots(1, 2, width_ratios=(2, 1))
    names = list(picture.members_by_level)
    weeks = range(len(picture.days))
    levels.stackplot(
        weeks,
        *picture.members_by_level.values(),
        labels=[name.capitalize() for name in names],
        colors=[COLOURS[name] for name in names],
    )
    levels.set_title(f"Members by level, to {picture.days[-1]}")
    levels.set_xlim(weeks[0], weeks[-1])
    some = weeks[:: max(1, len(weeks) // 6)]
    levels.set_xticks(some, [picture.days[week].isoformat() for week in some])
    levels.legend(loc="lower right", reverse=True)
    shares = picture.shares_by_class
    bars = classes.bar(
        list(shares),
        [share.revenue_cents / 100 for share in shares.values()],
        color=[COLOURS[name] for name in shares],
    )
    classes.bar_label(bars, [f"{share.members:,} members" for share in shares.values()])
    classes.set_title("Revenue of a year by ABC class")
    classes.set_ylabel("EUR")
    classes.yaxis.set_major_formatter("{x:,.0f}")
    figure.savefig(file)


if __name__ == "__main__":
    draw(msgspec.json.decode(sys.stdin.buffer.read(), type=Picture), Path(sys.argv[1]))
