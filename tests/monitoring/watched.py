"""A real Prometheus and a real Alertmanager over services, and a place that takes their messages.

Both run as they are configured, but for addresses, the places of secrets, and shorter waits.
"""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.integration.conftest import needs
from tests.monitoring.written import ALERTMANAGER, PROMETHEUS, read

SCRAPE_S, WAIT_S_MAX = "1s", 120.0
SECRETS = "/etc/alertmanager/secrets"


class Inbox:
    """A local webhook: what was posted to it, by path."""

    def __init__(self) -> None:
        inbox, self.taken = self, list[tuple[str, dict[str, Any]]]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                inbox.taken.append((self.path, json.loads(body)))
                self.send_response(202)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                """Nothing: what was taken says it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def to(self, path: str) -> list[dict[str, Any]]:
        """What was posted to a path."""
        return [body for where, body in list(self.taken) if where == path]

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()


class Watch:
    """Prometheus and Alertmanager over the services at `targets`, by name.

    `others` are targets of its other jobs, by name; those that have none are left out.
    With `for_s_max` no alert waits longer than that before it fires.
    """

    def __init__(
        self,
        folder: Path,
        ports: list[int],
        targets: dict[str, int],
        for_s_max: int | None = None,
        others: dict[str, int] | None = None,
    ) -> None:
        needs("prometheus", "prometheus-alertmanager")
        self._folder, self.inbox = folder, Inbox()
        self._prometheus, self._alertmanager = (f"127.0.0.1:{port}" for port in ports[:2])
        self._processes: list[subprocess.Popen[bytes]] = []
        self._write_alertmanager()
        self._write_prometheus(targets, others or {}, self._rules(for_s_max))
        self._began_s = time.time()

    def _write_alertmanager(self) -> None:
        secrets = self._folder / "secrets"
        secrets.mkdir()
        (secrets / "slack-webhook").write_text(f"{self.inbox.url}/slack")
        (secrets / "pagerduty-key").write_text("0" * 32)
        (secrets / "heartbeat-token").write_text("token")
        known = read(ALERTMANAGER)
        known["templates"] = [str(ALERTMANAGER.parent / name) for name in known["templates"]]
        for route in (known["route"], *known["route"]["routes"]):
            route |= {"group_wait": "1s", "group_interval": "1s"}
        for receiver in known["receivers"]:
            for pager in receiver.get("pagerduty_configs", []):
                pager["url"] = f"{self.inbox.url}/pager"
            for webhook in receiver.get("webhook_configs", []):
                webhook["url"] = f"{self.inbox.url}/heartbeat"
        text = yaml.safe_dump(known).replace(SECRETS, str(secrets))
        (self._folder / "alertmanager.yml").write_text(text)

    def _rules(self, for_s_max: int | None) -> list[str]:
        """The files of the rules, which are the repository's own but for how long they wait."""
        named = [
            str(PROMETHEUS / name) for name in read(PROMETHEUS / "prometheus.yml")["rule_files"]
        ]
        if for_s_max is None:
            return named
        folder = self._folder / "rules"
        folder.mkdir()
        for path in (PROMETHEUS / "rules").glob("*.yml"):
            known = read(path)
            for rule in (rule for group in known["groups"] for rule in group["rules"]):
                if "for" in rule:
                    rule["for"] = f"{for_s_max}s"
            (folder / path.name).write_text(yaml.safe_dump(known))
        return [str(folder / "*.yml")]

    def _write_prometheus(
        self, targets: dict[str, int], others: dict[str, int], rule_files: list[str]
    ) -> None:
        known = read(PROMETHEUS / "prometheus.yml")
        known["global"] |= {"scrape_interval": SCRAPE_S, "evaluation_interval": SCRAPE_S}
        known["global"]["scrape_timeout"] = SCRAPE_S
        known["rule_files"] = rule_files
        (alertmanagers,) = known["alerting"]["alertmanagers"]
        alertmanagers["static_configs"][0]["targets"] = [self._alertmanager]
        at = {name: f"127.0.0.1:{port}" for name, port in others.items()}
        at |= {"prometheus": self._prometheus, "alertmanager": self._alertmanager}
        jobs = [job for job in known["scrape_configs"] if job["job_name"] in {*at, "hft"}]
        for job in jobs:
            job |= {"scrape_interval": SCRAPE_S, "scrape_timeout": SCRAPE_S}
            if job["job_name"] == "hft":
                for item in job["static_configs"]:
                    item["targets"] = [f"127.0.0.1:{targets[item['labels']['service']]}"]
            else:
                job.pop("dns_sd_configs", None)
                job["static_configs"] = [{"targets": [at[job["job_name"]]]}]
        known["scrape_configs"] = jobs
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(known))

    def start(self, environment: str) -> None:
        """Start both; returns when both answer."""
        folder = self._folder
        self._run(
            "prometheus-alertmanager",
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address={self._alertmanager}",
            "--cluster.listen-address=",
        )
        self._run(
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={self._prometheus}",
            "--enable-feature=expand-external-labels",  # Debian's, which is older than version 3
            ENVIRONMENT=environment,
        )
        for address in (self._alertmanager, self._prometheus):
            self.wait_for("up", lambda address=address: self._answers(address))  # type: ignore

    def _run(self, *words: str, **environment: str) -> None:
        with (self._folder / f"{words[0]}.log").open("ab") as log:
            known = {**os.environ, **environment}
            self._processes.append(subprocess.Popen(words, stdout=log, stderr=log, env=known))

    def _answers(self, address: str) -> bool:
        try:
            return httpx.get(f"http://{address}/-/ready", timeout=2.0).status_code == 200
        except httpx.HTTPError:
            return False

    def query(self, text: str) -> list[dict[str, Any]]:
        """What Prometheus answers now; an error of the query fails the test."""
        url = f"http://{self._prometheus}/api/v1/query"
        answer = httpx.get(url, params={"query": text}, timeout=10.0).json()
        assert answer["status"] == "success", f"{text}: {answer}"
        found = answer["data"]["result"]
        return found if isinstance(found, list) else [found]

    def ever(self, text: str) -> list[dict[str, Any]]:
        """The series that a query has had since the start, at any second of it."""
        url, now_s = f"http://{self._prometheus}/api/v1/query_range", time.time()
        span = {"start": self._began_s, "end": now_s, "step": 1 + (now_s - self._began_s) // 5000}
        answer = httpx.get(url, params={"query": text, **span}, timeout=10.0).json()
        assert answer["status"] == "success", f"{text}: {answer}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def firing(self, *alerts: str) -> set[tuple[str, str]]:
        """Name and service of what fires now; of these alerts alone where some are named."""
        found = {
            (one["metric"]["alertname"], one["metric"].get("service", ""))
            for one in self.query('ALERTS{alertstate="firing"}')
        }
        return {(name, service) for name, service in found if not alerts or name in alerts}

    def fired(self) -> set[tuple[str, str]]:
        """Name and service of what has ever fired."""
        found = [one["metric"] for one in self.ever('ALERTS{alertstate="firing"}')]
        return {(one["alertname"], one.get("service", "")) for one in found}

    def paged(self, alert: str) -> set[str]:
        """What the pager was asked to do for an alert."""
        return {one["event_action"] for one in self.inbox.to("/pager") if alert in str(one)}

    def wait_for(self, what: str, holds: Callable[[], bool]) -> float:
        """Seconds until `holds`; raises with the last of the logs where that takes too long."""
        began = time.monotonic()
        while not holds():
            logs = "\n".join(path.read_text()[-1500:] for path in self._folder.glob("*.log"))
            ended = [process for process in self._processes if process.poll() is not None]
            assert not ended and time.monotonic() - began < WAIT_S_MAX, f"not {what}:\n{logs}"
            time.sleep(0.1)
        return time.monotonic() - began

    def end(self) -> None:
        """End both."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.wait(30)
        self.inbox.close()
