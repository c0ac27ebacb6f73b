"""The mock cluster inside librdkafka, which the confluent-kafka wheel carries: it answers with errors on demand."""

import contextlib
import ctypes
from collections.abc import Iterator
from importlib.metadata import files

FETCH, HEARTBEAT = 1, 12  # request types by their number in Kafka's protocol

_PRODUCER = 0


class MockCluster:
    """Brokers 1 to n. What is in them is gone with them."""

    def __init__(self, library: ctypes.CDLL, handle: ctypes.c_void_p) -> None:
        self._library = library
        self._handle = handle

    @property
    def bootstrap_servers(self) -> str:
        text: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._handle)
        return text.decode()

    def create_topic(self, name: str, partitions: int) -> None:
        assert self._library.rd_kafka_mock_topic_create(self._handle, name.encode(), partitions, 1) == 0

    def answer_next(self, request: int, *errors: int) -> None:
        """Answers the next requests of that type with these errors, one each."""
        array = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(self._handle, request, len(errors), array)

    def forget_errors(self, request: int) -> None:
        self._library.rd_kafka_mock_clear_request_errors(self._handle, request)

    def set_coordinator(self, group: str, broker: int) -> None:
        assert self._library.rd_kafka_mock_coordinator_set(self._handle, b"group", group.encode(), broker) == 0

    def set_down(self, broker: int) -> None:
        assert self._library.rd_kafka_mock_broker_set_down(self._handle, broker) == 0

    def set_up(self, broker: int) -> None:
        assert self._library.rd_kafka_mock_broker_set_up(self._handle, broker) == 0


@contextlib.contextmanager
def mock_cluster(brokers: int = 1) -> Iterator[MockCluster]:
    library = _library()
    error = ctypes.create_string_buffer(512)
    client = ctypes.c_void_p(library.rd_kafka_new(_PRODUCER, library.rd_kafka_conf_new(), error, len(error)))
    assert client, error.value
    handle = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(client, brokers))
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(handle, 0)
    try:
        yield MockCluster(library, handle)
    finally:
        library.rd_kafka_mock_cluster_destroy(handle)
        library.rd_kafka_destroy(client)


def _library() -> ctypes.CDLL:
    [path] = [str(f.locate()) for f in files("confluent-kafka") or () if f.name.startswith("librdkafka-")]
    import confluent_kafka  # noqa: F401  # loads the libraries librdkafka itself needs

    library = ctypes.CDLL(path)
    library.rd_kafka_conf_new.restype = ctypes.c_void_p
    library.rd_kafka_new.restype = ctypes.c_void_p
    library.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.rd_kafka_destroy.argtypes = [ctypes.c_void_p]
    library.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    library.rd_kafka_mock_push_request_errors_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_int16,
        ctypes.c_size_t,
        ctypes.c_void_p,
    ]
    library.rd_kafka_mock_clear_request_errors.argtypes = [ctypes.c_void_p, ctypes.c_int16]
    return library
