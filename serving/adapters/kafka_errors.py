"""Which of Kafka's errors pass by themselves."""

from confluent_kafka import KafkaError, KafkaException

# librdkafka, or the next try, mends these; a broker that starts says some of them for a while.
PASSING = frozenset(
    (
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    )
)

# A broker that has just come back may name no partitions yet, as one does that never had them.
SOON = PASSING | {KafkaError._UNKNOWN_PARTITION}

# A user that the broker knows may not do what it asked for, until it is given the right.
FORBIDDEN = frozenset(
    (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    )
)


def refusal(error: KafkaError) -> str:
    """What a broker that does not know our user or password says, in a sentence."""
    return f"the broker refuses the login: {error.str()}"


def is_passing(error: BaseException) -> bool:
    """Whether an error of Kafka is one that time mends."""
    return isinstance(error, KafkaException) and error.args[0].code() in PASSING


def is_worth_asking_again(error: BaseException) -> bool:
    """Whether an error of Kafka may be gone in a moment."""
    return isinstance(error, KafkaException) and error.args[0].code() in SOON


def is_forbidden(error: BaseException) -> bool:
    """Whether an error of Kafka says that our user may not do that."""
    return isinstance(error, KafkaException) and error.args[0].code() in FORBIDDEN
