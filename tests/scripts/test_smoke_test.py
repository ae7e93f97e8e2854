"""The smoke test reads the six services' figures, and says what keeps them from being one line."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from serving.services import SERVICES
from tests.monitoring.exported import exported

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "smoke-test.sh"
# In the order of the line, which is that of the ports after an offset.
NAMES = ("ingestion", "kalman_filter", "garch_model", "risk_manager", "execution", "orchestrator")


class Line:
    """Six pages of figures behind one port, which a stand-in for kubectl asks by service."""

    def __init__(self, folder: Path) -> None:
        line = self
        self.ready = dict.fromkeys(NAMES, 1.0)
        self.logic = dict.fromkeys(NAMES, "4")
        self.read = dict.fromkeys(NAMES, 10)
        self.step = dict.fromkeys(NAMES, 1)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(line.page(self.path.split("/")[1]).encode())

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.kubectl = folder / "kubectl"
        self.kubectl.write_text(f"""#!/bin/sh
echo "$*" >>{folder}/calls
name=$(echo "$5" | sed 's:deployment/::; s:-service$::; s:-:_:g')
exec {sys.executable} -S -E -c "$9" "http://127.0.0.1:{self.server.server_port}/$name/metrics"
""")
        self.kubectl.chmod(0o755)

    def page(self, name: str) -> str:
        """The figures of a service; each time more facts were read."""
        self.read[name] += self.step[name]
        return (
            f"hft_ready {self.ready[name]}\n"
            f'hft_build_info{{logic="{self.logic[name]}",schema="9",version="1"}} 1.0\n'
            f'hft_facts_read_total{{log="hft.{name}"}} {self.read[name]}\n'
        )

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """The script."""
        environ |= {"PATH": os.environ["PATH"], "KUBECTL": str(self.kubectl)}
        return subprocess.run(
            [SCRIPT, *words], env=environ, capture_output=True, text=True, timeout=120
        )


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_six_that_work_as_one_line_pass(line: Line, tmp_path: Path) -> None:
    done = line.run("-e", "production", "--moving", "60")
    assert (done.returncode, done.stderr) == (0, "")
    calls = (tmp_path / "calls").read_text()
    assert "--namespace hft-production" in calls
    assert {f"deployment/{name.replace('_', '-')}-service" in calls for name in NAMES} == {True}


def test_one_that_is_not_ready_is_named(line: Line) -> None:
    line.ready["execution"] = 0.0
    done = line.run()
    assert (done.returncode, done.stderr) == (1, "smoke-test: execution is not ready\n")


def test_versions_that_are_mixed_are_named(line: Line) -> None:
    line.logic["orchestrator"] = "5"
    done = line.run()
    assert done.returncode == 1 and 'logic="4" logic="5" schema="9"' in done.stderr


def test_one_that_no_fact_reaches_is_named_but_the_orchestrator_hears_of_days(line: Line) -> None:
    line.step["garch_model"] = line.step["orchestrator"] = 0
    done = line.run("--moving", "1")
    assert (done.returncode, done.stderr) == (
        1,
        "smoke-test: no fact reached garch_model in 1 s\n",
    )


def test_one_that_does_not_answer_is_named(line: Line) -> None:
    line.kubectl.write_text("#!/bin/sh\necho 'error: connection refused' >&2\nexit 1\n")
    done = line.run()
    assert done.returncode == 1
    assert "ingestion does not answer: error: connection refused" in done.stderr


def test_one_that_says_nothing_is_waited_for_so_long(line: Line) -> None:
    line.kubectl.write_text("#!/bin/sh\nexec sleep 600\n")
    done = line.run(ANSWER_S_MAX="1")
    assert done.returncode == 1
    assert "orchestrator does not answer: no answer within 1 s" in done.stderr


def test_the_cluster_can_be_named(line: Line, tmp_path: Path) -> None:
    line.run("--context", "eu-1")
    lines = (tmp_path / "calls").read_text().splitlines()
    calls = [line for line in lines if "--namespace " in line]
    assert calls and all(call.startswith("--context eu-1 --namespace ") for call in calls)


@pytest.mark.parametrize("words", [("-e", "nowhere"), ("--moving", "long"), ("-e",), ("--fast",)])
def test_bad_usage_ends_with_2(line: Line, words: tuple[str, ...]) -> None:
    assert line.run(*words).returncode == 2


def test_the_services_export_what_it_reads(tmp_path: Path) -> None:
    known = exported(tmp_path)
    names = {service.name for service in SERVICES}
    assert names == set(NAMES)
    for metric in ("hft_ready", "hft_build_info", "hft_facts_read_total"):
        assert {labels.get("service") for labels in known[metric]} >= names, metric
    assert {"logic", "schema"} <= set(known["hft_build_info"][0])
