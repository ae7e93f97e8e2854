"""A pipeline sent to a Kubeflow API: once, or as a recurring run."""

import contextlib
import io
import re
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from cli.errors import BadInput, Failed, Refused

# The client itself would wait for ever; an API in the cluster answers in milliseconds.
ANSWER_S_MAX = 5.0
_FIELD = re.compile(r"[0-9A-Za-z*/,?-]+")


class Target(NamedTuple):
    """Where to send: the API's address, experiment, namespace and token where it has any."""

    host: str
    experiment: str
    namespace: str
    token: str | None
    caching: bool


def send(
    target: Target,
    name: str,
    content: bytes,
    arguments: dict[str, Any],
    image: str | None,
    cron: str | None,
) -> dict[str, Any]:
    """Create the run, or with `cron` the recurring run; Failed where the API does not take it."""
    schedule = None if cron is None else cron_of(cron)
    package = changed(content, image, target.caching)
    _ask(target.host)
    from kfp_server_api.exceptions import ApiException

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name}.yaml")
        path.write_bytes(package)
        try:
            # What it prints would stand beside the JSON, and its warning is of its own first year.
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                return _send(target, name, str(path), arguments, schedule)
        except ApiException as error:
            said = f"{error.status} {error.reason}"
            raise Failed(f"the Kubeflow API at {target.host} refused: {said}") from error


def _send(
    target: Target, name: str, path: str, arguments: dict[str, Any], schedule: str | None
) -> dict[str, Any]:
    from kfp import Client

    client = Client(
        host=target.host, namespace=target.namespace or "kubeflow", existing_token=target.token
    )
    namespace = target.namespace or None
    known = {"pipeline": name, "host": target.host, "arguments": arguments}
    label = f"hft {name}"
    if schedule is None:
        made = client.create_run_from_pipeline_package(
            path,
            arguments=arguments,
            run_name=label,
            experiment_name=target.experiment,
            namespace=namespace,
        )
        return {**known, "name": label, "run_id": made.run_id}
    experiment = client.create_experiment(target.experiment, namespace=namespace)
    _must_be_new(client, experiment.experiment_id, label)
    recurring = client.create_recurring_run(
        experiment.experiment_id,
        label,
        cron_expression=schedule,
        max_concurrency=1,  # a slow run is not overtaken by the next
        no_catchup=True,
        params=arguments,
        pipeline_package_path=path,
    )
    return {
        **known,
        "name": label,
        "cron": schedule,
        "recurring_run_id": recurring.recurring_run_id,
    }


def _must_be_new(client: Any, experiment_id: str, label: str) -> None:
    """Two schedules of one name would run everything twice."""
    token = ""  # nosec B105: of a page
    while True:
        page = client.list_recurring_runs(
            page_token=token, page_size=100, experiment_id=experiment_id
        )
        for one in page.recurring_runs or ():
            if one.display_name == label:
                raise Refused(
                    f"{label} is scheduled already as {one.recurring_run_id}: delete that first"
                )
        token = page.next_page_token
        if not token:
            return


def cron_of(text: str) -> str:
    """The API's six fields, seconds first, of the usual five; BadInput for another number."""
    fields = text.split()
    if len(fields) != 5 or not all(map(_FIELD.fullmatch, fields)):
        raise BadInput(f"--cron must be minute hour day month weekday, was {text!r}")
    return " ".join(("0", *fields))


def changed(content: bytes, image: str | None, caching: bool) -> bytes:
    """The compiled pipeline with `image` for every step, without caching where it is not wanted.

    kfp's own switch reaches no step inside a loop.
    """
    if image is None and caching:
        return content
    spec, *others = yaml.safe_load_all(content)
    for one in spec["deploymentSpec"]["executors"].values():
        one["container"]["image"] = image or one["container"]["image"]
    graphs = [spec["root"], *spec["components"].values()]
    for graph in graphs if not caching else ():
        for task in graph.get("dag", {}).get("tasks", {}).values():
            task["cachingOptions"] = {}
    return yaml.safe_dump_all([spec, *others], sort_keys=True).encode()


def _ask(host: str) -> None:
    """Failed unless something answers at `host` within a bound."""
    import urllib3

    if not host.startswith(("http://", "https://")):
        raise BadInput(f"--host must be an address such as http://localhost:8888, was {host!r}")
    pool = urllib3.PoolManager(timeout=ANSWER_S_MAX, retries=False)
    try:
        pool.request("GET", host.rstrip("/") + "/apis/v2beta1/healthz")
    except urllib3.exceptions.HTTPError as error:
        why = type(error).__name__
        raise Failed(f"the Kubeflow API at {host} does not answer: {why}") from error
