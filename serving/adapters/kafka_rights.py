"""Who may do what with the log, as data, and a broker that knows users told of it.

Each service is a user. It reads its inbox, and writes where the facts of its stage and of its edges
go, dead letters and snapshots: whoever takes it over can lie in its name, and in no inbox but those
that it writes to. `viewer` and `backup` read everything and write nothing. `admin` makes topics and
gives rights; for it, and for `broker`, the broker to itself, no rule holds.
"""

from collections.abc import Iterator

import msgspec
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from serving.adapters.kafka_client import ANSWER_S_MAX, administering
from serving.adapters.kafka_errors import is_forbidden
from serving.adapters.kafka_topics import RECORDS, REGISTRY, SNAPSHOTS, TOPICS, topic_of
from serving.runtime.chained import DEAD_LETTERS, Away
from serving.services import SERVICES, SINGLETONS, Service

ADMIN, BROKER, VIEWER, BACKUP = "admin", "broker", "viewer", "backup"
USERS = (BROKER, ADMIN, VIEWER, BACKUP, *(service.name for service in SERVICES))
# Beside a stage: the ledger follows the records and what was buried of them, MLflow the registry's.
BESIDE = {"orchestrator": (RECORDS, DEAD_LETTERS, REGISTRY)}
_CLUSTER, _OURS, _ANYWHERE = "kafka-cluster", "hft.", "*"
_ALL = AclBindingFilter(
    ResourceType.ANY,
    None,
    ResourcePatternType.ANY,
    None,
    None,
    AclOperation.ANY,
    AclPermissionType.ANY,
)
_Right = tuple[ResourceType, str, ResourcePatternType, AclOperation]


class Rights(msgspec.Struct, frozen=True):
    """The topics that a user reads, and those that it writes to."""

    reads: frozenset[str]
    writes: frozenset[str] = frozenset()

    def operations(self) -> Iterator[tuple[str, AclOperation]]:
        """Each topic with what is done to it, in words' order."""
        yield from ((topic, AclOperation.READ) for topic in sorted(self.reads))
        yield from ((topic, AclOperation.WRITE) for topic in sorted(self.writes))


def rights_of(service: Service) -> Rights:
    """What a service must be able to do, by what its stage and its edges are."""
    name = service.name
    said = {log for logs in service.stage.routes.values() for log in logs}
    said |= {name} if name in SINGLETONS else set()
    return Rights(
        frozenset((topic_of(name), SNAPSHOTS, *BESIDE.get(name, ()))),
        frozenset((*map(topic_of, said), SNAPSHOTS, DEAD_LETTERS)),
    )


def rights() -> dict[str, Rights]:
    """What each user may do, of those for whom rules hold."""
    everything = Rights(frozenset(topic.name for topic in TOPICS))
    services = {service.name: rights_of(service) for service in SERVICES}
    return {VIEWER: everything, BACKUP: everything, **services}


# --- the broker ---


def give_rights(servers: str) -> tuple[int, int]:
    """Let each user do what `rights` says, and nobody anything else; how many rules are new, and
    how many are gone.

    Raises Away where the broker does not answer, or we are not its `admin`.
    """
    with administering(servers) as admin:
        wanted = {_binding(user, *one) for user, its in rights().items() for one in _of(user, its)}
        there = set(admin.describe_acls(_ALL).result(ANSWER_S_MAX))
        # First what is new: nobody is without a right meanwhile who has it before and after.
        new, gone = list(wanted - there), [_only(one) for one in there - wanted]
        asked = [*(admin.create_acls(new) if new else {}).values()]
        asked += [*(admin.delete_acls(gone) if gone else {}).values()]
        for answer in asked:
            answer.result(ANSWER_S_MAX)
    return len(new), len(gone)


def require_rights(servers: str, service: Service) -> None:
    """Return where the broker lets us do what `service` must; raises Away, with what it does not.

    A broker without users lets everybody do everything.
    """
    needed = rights_of(service)
    with administering(servers) as admin:
        may = _allowed(admin, sorted(needed.reads | needed.writes))
    missing = [
        f"{operation.name.lower()} {topic}"
        for topic, operation in needed.operations()
        if operation not in may[topic]
    ]
    if missing:
        raise Away(
            f"the broker does not let {service.name} {', '.join(missing)}: "
            "python -m serving.rights gives each user its rights"
        )


def _allowed(admin: AdminClient, topics: list[str]) -> dict[str, set[AclOperation]]:
    """What our user may do with each of these."""
    asked = admin.describe_topics(
        TopicCollection(topics), include_authorized_operations=True, request_timeout=ANSWER_S_MAX
    )
    found: dict[str, set[AclOperation]] = {}
    for topic, answer in asked.items():
        try:
            found[topic] = set(answer.result(ANSWER_S_MAX).authorized_operations or ())
        except KafkaException as error:
            if not is_forbidden(error):
                raise
            found[topic] = set()
    return found


def _of(user: str, its: Rights) -> Iterator[_Right]:
    """The rules by which a user has its rights."""
    literal, prefixed = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED
    for topic, operation in its.operations():
        yield ResourceType.TOPIC, topic, literal, operation
    # That all of a line is there is looked at by everybody. A client asks who coordinates its group
    # though it is alone in it and commits nothing.
    yield ResourceType.TOPIC, _OURS, prefixed, AclOperation.DESCRIBE
    yield ResourceType.GROUP, _OURS, prefixed, AclOperation.DESCRIBE
    if user == VIEWER:
        # Our clients ask for a producer's id though a verb that looks sends nothing.
        yield ResourceType.BROKER, _CLUSTER, literal, AclOperation.IDEMPOTENT_WRITE


def _binding(
    user: str, kind: ResourceType, name: str, pattern: ResourcePatternType, operation: AclOperation
) -> AclBinding:
    allow = AclPermissionType.ALLOW
    return AclBinding(kind, name, pattern, f"User:{user}", _ANYWHERE, operation, allow)


def _only(one: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        one.restype,
        one.name,
        one.resource_pattern_type,
        one.principal,
        one.host,
        one.operation,
        one.permission_type,
    )
