"""`python -m serving.rights`: make a broker that knows users ready for a line, as its user `admin`.

The topics are made, each user is given its rights, and what else anybody was allowed is taken away.
Said again it changes nothing.
"""

import sys

import msgspec
import typer
from confluent_kafka import KafkaError, KafkaException
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from serving.adapters.kafka_rights import give_rights
from serving.adapters.kafka_topics import TOPICS, ensure_topics
from serving.runtime.chained import Away
from serving.runtime.opening import NotThisLine
from serving.runtime.settings import SettingsError, load_settings

FAILED, BAD_USAGE, REFUSED = 1, 2, 3
# A broker that was just started listens a while before it answers.
ANSWERS_S_MAX, POLL_S = 60.0, 1.0


def give() -> None:
    """Make the topics of a line on KAFKA_BOOTSTRAP_SERVERS, and say who may do what with them."""
    servers = load_settings().kafka_bootstrap_servers
    if servers is None:
        raise SettingsError("KAFKA_BOOTSTRAP_SERVERS must name a broker, it was unset")
    given, taken = prepared(servers)
    told = {"topics": len(TOPICS), "given": given, "taken": taken}
    typer.echo(msgspec.json.encode(told).decode())


@retry(
    retry=retry_if_exception_type(Away),
    stop=stop_after_delay(ANSWERS_S_MAX),
    wait=wait_fixed(POLL_S),
    reraise=True,
)
def prepared(servers: str) -> tuple[int, int]:
    """How many rights were given, and how many taken; raises Away where nobody answers in time."""
    ensure_topics(servers)
    return give_rights(servers)


def main() -> int:
    """The exit code: 0 done, 1 failed, 2 bad usage, 3 refused by a rule."""
    try:
        typer.run(give)
    except SettingsError as error:
        return _say(str(error), BAD_USAGE)
    except NotThisLine as error:
        return _say(str(error), REFUSED)
    except Away as error:
        return _say(str(error), FAILED)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.SECURITY_DISABLED:
            return _say("the broker knows no users, so there are no rights to give", REFUSED)
        return _say(str(error.args[0].str()), FAILED)
    return 0


def _say(sentence: str, code: int) -> int:
    typer.echo(f"rights: {sentence}", err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
