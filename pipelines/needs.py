"""What a step needs of a cluster: volumes, the registry's address and password, size, patience."""

from kfp import dsl, kubernetes

TAPES_CLAIM, TAPES_PATH = "hft-tapes", "/tapes"
REGISTRY_CONFIG, REGISTRY_SECRET = "hft-registry", "hft-registry"  # nosec B105: names, no values
RETRIES_MAX = 2  # a node that went away; what a rule refused is refused again


def tapes(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """The step reads the volume of tapes, mounted at /tapes."""
    return kubernetes.mount_pvc(task, pvc_name=TAPES_CLAIM, mount_path=TAPES_PATH)


def registry(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """The step talks to MLflow, and gives up soon where that does not answer."""
    address = {"MLFLOW_TRACKING_URI": "MLFLOW_TRACKING_URI"}
    # Optional: where nothing is configured the environment of the step says it, as a local run's.
    kubernetes.use_config_map_as_env(task, REGISTRY_CONFIG, address, optional=True)
    login = {
        "username": "MLFLOW_TRACKING_USERNAME",
        "password": "MLFLOW_TRACKING_PASSWORD",  # nosec B105: a name
    }
    kubernetes.use_secret_as_env(task, REGISTRY_SECRET, login, optional=True)
    task.set_env_variable("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    task.set_env_variable("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    task.set_env_variable("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    return task.set_env_variable("MLFLOW_DISABLE_TELEMETRY", "true")


def sized(task: dsl.PipelineTask, cpu: str, memory: str) -> dsl.PipelineTask:
    """The step asks for this much, may use no more memory, and is tried again on another node."""
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    task.set_cpu_request(cpu).set_memory_request(memory).set_memory_limit(memory)
    return task.set_retry(RETRIES_MAX, backoff_duration="1s", backoff_factor=2.0)


def judging(task: dsl.PipelineTask, cpu: str, memory: str) -> dsl.PipelineTask:
    """The step refuses by a rule: asked again it would say the same, so it is not."""
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    return task.set_cpu_request(cpu).set_memory_request(memory).set_memory_limit(memory)
