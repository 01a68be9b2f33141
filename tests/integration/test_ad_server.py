"""The tutorial of the ad server, pasted into a shell beside a running stack."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

from streams.local.children import free_port
from streams.settings import Settings
from tests.documents import ROOT, executed
from tests.integration.up_process import up
from tests.patience import until

PAGE = "docs/tutorials/ad-server.md"
TIMEOUT_S = 180


def test_the_ad_server_of_the_tutorial_is_the_program() -> None:
    program = (ROOT / "examples" / "ad_server.py").read_text("utf-8")

    [block] = executed(PAGE, "python")

    assert block.text in program


def test_the_ad_server_listens_where_no_process_of_the_engine_does() -> None:
    """The test below gives it another port, and so would not see that it has the dashboard's."""
    files = "examples/ad_server.py", "examples/browser.py"
    ports = {
        int(re.findall(r"""AD_SERVER_PORT['"], ['"](\d+)""", (ROOT / each).read_text("utf-8"))[0])
        for each in files
    }
    [port] = ports
    of_the_engine = {
        field.default for name, field in Settings.model_fields.items() if name.endswith("_port")
    }

    assert port not in of_the_engine
    assert f":{port}/ad?" in (ROOT / PAGE).read_text("utf-8")


def test_the_tutorial_of_the_ad_server_works_as_pasted(tmp_path: Path) -> None:
    port = free_port()
    script = "\n".join(block.text for block in executed(PAGE, "bash"))
    with up(tmp_path) as stack:
        run = subprocess.run(
            ["bash", "-euc", script.replace(":8070", f":{port}")],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            cwd=ROOT,
            env=os.environ
            | {
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "XDG_STATE_HOME": str(stack.data.parent / "state"),
                "EXPERIMENT_API_URL": stack.url,
                "AD_SERVER_PORT": str(port),
                "AD_TIMEOUT_S": "30",
            },
        )
        assert run.returncode == 0, run.stderr
        found = re.search(r"(\d+) of 200 users saw an ad, (\d+) clicked", run.stderr)
        assert found is not None
        shown, clicked = map(int, found.groups())
        assert "1 taken, 0 refused" in run.stdout
        assert run.stdout.count("reason     SHIPPED") == 2
        shipped = re.findall(r"variant +(\S+) \(.*\nreason +SHIPPED", run.stdout)
        assert shipped == ["tents", "boots"]
        assert "\nCompared " in run.stdout

        def is_exact() -> bool:
            stats = httpx.get(f"{stack.url}/experiments/hero-ad/stats", trust_env=False).json()
            counted = dict.fromkeys(("click", "revenue"), 0)
            for variant in stats["variants"]:
                for name, metric in variant["stats"]["metrics"].items():
                    counted[name] += metric["observations"]
            bot_clicked = shown % 5 == 0
            return (
                stats["totalExposures"] == shown - 1
                and stats["voided"] == [{"reason": "bot", "units": 1}]
                and counted == dict.fromkeys(counted, clicked - bot_clicked)
            )

        until(is_exact)
