"""What a service loads before it knows which one it is."""

import subprocess
import sys

HEAVY = ("pyarrow", "pandas", "sqlalchemy", "mlflow", "arch", "statsmodels", "plotly")


def test_a_service_loads_no_layer_that_only_another_one_needs():
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, serving.__main__, serving.process; print(*sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert [name for name in HEAVY if name in found] == []
