"""What the commands must be told, beside `KAFKA_...` and `CONTRACTS_DIR`: the variables that the services read."""

from eventing.settings import Settings
from pydantic import PostgresDsn


class DatabaseSettings(Settings):
    """Both services' databases, as the services' own roles see them."""

    loyalty_database_url: PostgresDsn
    customer_status_database_url: PostgresDsn
