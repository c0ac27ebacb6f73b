"""All SQL of products that points bought."""

from collections.abc import Collection

from programme.instants import from_datetime, to_datetime

from loyalty.points.store import Connection
from loyalty.rewards.domain import ProductOrder


async def products_of(conn: Connection, account_nos: Collection[int]) -> list[ProductOrder]:
    """All product orders of some accounts, newest first."""
    rows = await conn.fetch(
        """
        SELECT order_no, account_no, reward, sku, name, points, ordered_at FROM product_order
        WHERE account_no = ANY($1) ORDER BY order_no DESC
        """,
        list(account_nos),
    )
    return [
        ProductOrder(
            row["order_no"],
            row["account_no"],
            row["reward"],
            row["sku"],
            row["name"],
            row["points"],
            from_datetime(row["ordered_at"]),
        )
        for row in rows
    ]


async def add_product_order(
    conn: Connection, account_no: int, reward: str, sku: str, name: str, points: int, ordered_us: int
) -> ProductOrder:
    """Store an order under a number of its own."""
    order_no: int = await conn.fetchval(
        """
        INSERT INTO product_order (account_no, reward, sku, name, points, ordered_at)
        VALUES ($1, $2, $3, $4, $5, $6) RETURNING order_no
        """,
        account_no,
        reward,
        sku,
        name,
        points,
        to_datetime(ordered_us),
    )
    return ProductOrder(order_no, account_no, reward, sku, name, points, ordered_us)
