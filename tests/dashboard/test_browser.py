"""The dashboard in a real browser, on a whole stack whose API asks for keys."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from experiment_streams_client import (
    Assignment,
    AssignmentContext,
    ExperimentClient,
    ObservationRequest,
)
from experiment_streams_client.publisher import ObservationPublisher
from streams.api_keys import Scope, add_key
from streams.local.children import free_port
from tests.patience import PATIENCE_S, until

HERE = Path(__file__).parent
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PATIENCE_MS = PATIENCE_S * 1_000
expect.set_options(timeout=PATIENCE_MS)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),  # a browser without a graphics card, beside two others
    pytest.mark.skipif(
        CHROMIUM is None and "CI" not in os.environ, reason="needs chromium, as Debian has it"
    ),
]

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation",
  (event) => window.violations.push(event.violatedDirective + " " + event.blockedURI));
"""

NETWORK = re.compile(
    r"Failed to load resource|net::ERR_|the server responded with a status of|Failed to fetch"
)


@dataclass(frozen=True)
class Stack:
    """A running `experiment up` whose API asks for keys.

    Attributes:
        keys: API key by what it may do.
    """

    process: subprocess.Popen[str]
    api: str
    dashboard: str
    data: Path
    keys: dict[str, str]

    def client(self) -> ExperimentClient:
        return ExperimentClient(self.api, api_key=self.keys["all"])

    def publish_too_large(self, client: ExperimentClient, experiment: str) -> None:
        """Publish a latency to Kafka that its metric does not allow, as producers may."""
        assignment = client.assign_variant(experiment, AssignmentContext(user_id="refused"))
        assert assignment.id is not None
        [found] = [
            json.loads(path.read_text()) for path in self.data.parent.glob("**/stacks/*.json")
        ]
        with ObservationPublisher(found["settings"]["kafka_url"]) as publisher:
            publisher.publish(assignment.id, "latency", 1_000.0, "slow")

    def child(self, log: str) -> psutil.Process:
        """Return the process that writes a log."""
        file = self.data / f"{log}.log"
        [found] = [
            each
            for each in psutil.Process(self.process.pid).children()
            if Path(f"/proc/{each.pid}/fd/1").readlink() == file
        ]
        return found


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("dashboard")
    file = directory / "keys.json"
    keys = {
        "all": add_key(file, "ops", [Scope.READ, Scope.MANAGE, Scope.ASSIGN, Scope.OBSERVE]),
        "manages": add_key(file, "ana", [Scope.READ, Scope.MANAGE]),
        "reads": add_key(file, "bo", [Scope.READ]),
        "assigns": add_key(file, "ads", [Scope.ASSIGN]),
    }
    port, data = free_port(), directory / "data"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "streams.cli", "up", "--ephemeral", "--port", str(port)),
            *("--dashboard-port", "0", "--data-dir", str(data)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"XDG_STATE_HOME": str(directory), "EXPERIMENT_API_KEYS_FILE": str(file)},
    )
    overdue = threading.Timer(PATIENCE_S, process.kill)  # ends the readline
    overdue.start()
    try:
        assert process.stdout is not None
        ready, dashboard = process.stdout.readline(), process.stdout.readline()
        overdue.cancel()
        assert ready.startswith("ready http")
        assert dashboard.startswith("dashboard http")
        yield Stack(process, ready.split()[1], dashboard.split()[1], data, keys)
    finally:
        overdue.cancel()
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    assert CHROMIUM is not None, "CI has chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox"] if os.geteuid() == 0 else [],
        )
        yield browser
        browser.close()


@dataclass
class Visit:
    """A person with a page, and what the browser complained about.

    Attributes:
        complaints: Violations of the policy, errors of scripts, and messages of the console that
            are not about the network.
    """

    page: Page
    stack: Stack
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        self.page.goto(f"{self.stack.dashboard}{path}")

    def note_violations(self) -> None:
        self.complaints += self.page.evaluate("window.violations")

    def sign_in(self, key: str) -> None:
        self.go("/sign-in")
        self.page.get_by_label("API key").fill(self.stack.keys[key])
        self.page.get_by_role("button", name="Sign in").click()


@contextmanager
def visiting(browser: Browser, stack: Stack, **options: Any) -> Iterator[Visit]:
    context: BrowserContext = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(WATCH)
    page = context.new_page()
    visit = Visit(page, stack)
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    page.on(
        "console",
        lambda message: (
            visit.complaints.append(message.text)
            if message.type in {"error", "warning"} and not NETWORK.search(message.text)
            else None
        ),
    )
    try:
        yield visit
        visit.note_violations()
        assert visit.complaints == []
    finally:
        context.close()


@pytest.fixture
def ana(chromium: Browser, stack: Stack) -> Iterator[Visit]:
    """A signed-in user who may manage, at a desk."""
    with visiting(chromium, stack, viewport={"width": 1180, "height": 900}) as visit:
        visit.sign_in("manages")
        yield visit


def created(client: ExperimentClient, name: str, **config: Any) -> str:
    experiment = client.create_experiment(
        {
            "name": name,
            "type": "thompson_sampling",
            "unit": "user",
            "primaryMetric": "purchase",
            "guardrailMetrics": ["latency"],
            "metrics": {
                "purchase": {"kind": "binary"},
                "latency": {"kind": "continuous", "direction": "decrease", "maxValue": 10},
            },
            **config,
        },
        [
            {"name": "Control", "isControl": True},
            {"name": "Blue", "config": {"color": "blue"}},
            {"name": "Green"},
        ],
    )
    return experiment.id


RATES = {"Control": 5, "Blue": 2, "Green": 10}
"""One user in so many buys."""


def send_traffic(client: ExperimentClient, experiment: str, first: int, n: int) -> None:
    """Assign users, some of whom buy: Blue more than all others."""
    contexts = [
        AssignmentContext(user_id=f"u{index}", device="mobile") for index in range(first, first + n)
    ]
    observations = []
    for index, (assignment,) in enumerate(client.assign_variants([experiment], contexts)):
        assert isinstance(assignment, Assignment)
        if index % RATES[assignment.variant_name] == 0:
            observations.append(
                ObservationRequest(
                    assignment_id=assignment.id,
                    metric="purchase",
                    value=1,
                    event_id="p",
                )
            )
        observations.append(
            ObservationRequest(
                assignment_id=assignment.id,
                metric="latency",
                value=1.0 + index % 7 / 10,
                event_id="l",
            )
        )
    client.record_observations(observations)


def confirm(visit: Visit, link: str, button: str | None = None) -> None:
    visit.page.get_by_role("link", name=link, exact=True).click()
    expect(visit.page.get_by_text("Undo", exact=True)).to_be_visible()
    visit.page.get_by_role("button", name=button or link, exact=True).click()


def halve_traffic_and_undo_it(page: Page) -> None:
    page.get_by_role("link", name="Change traffic").click()
    page.get_by_label("Share of units that take part").fill("50")
    page.get_by_role("button", name="Change traffic").click()
    page.get_by_role("link", name="Undo: traffic of 100").click()
    expect(page.get_by_label("Share of units that take part")).to_have_value("100")
    page.get_by_role("button", name="Change traffic").click()
    expect(page.locator("#history")).to_contain_text("trafficAllocation: 0.5 → 1")


def test_an_experiment_from_its_start_to_its_roll_back(ana: Visit, stack: Stack):
    page = ana.page
    with stack.client() as client:
        experiment = created(client, "Banner color")
        ana.go("/")
        page.get_by_role("link", name="Banner color").click()
        expect(page.locator("#headline")).to_contain_text("Start it.")

        confirm(ana, "Start")
        expect(page.locator("#headline")).to_contain_text("Keep it running.")

        # Traffic moves the weights, and the page shows it without being loaded again.
        page.evaluate("window.isTheSame = true")
        send_traffic(client, experiment, 0, 600)
        blue = page.locator("#variants tbody tr", has_text="Blue")
        expect(blue.locator(".traffic")).not_to_contain_text("33.3", timeout=PATIENCE_MS)
        expect(page.locator("#forest svg.chart")).to_be_visible()
        page.wait_for_timeout(1_500)  # a series has one point a second
        send_traffic(client, experiment, 600, 60)
        expect(page.locator("#plot-traffic canvas")).to_be_visible()
        page.locator("#plot-traffic").press("ArrowLeft")
        expect(page.locator("#read-traffic")).to_contain_text("Control")
        assert page.evaluate("window.isTheSame")

        halve_traffic_and_undo_it(page)

        # A refused command says why, and keeps what was typed.
        page.get_by_role("link", name="Ship a winner").click()
        page.get_by_label("Blue").check()
        page.get_by_label("Share that the control keeps").fill("70")
        page.get_by_role("button", name="Ship a winner").click()
        expect(page.get_by_role("alert")).to_contain_text("OUT_OF_RANGE")
        expect(page.get_by_label("Share that the control keeps")).to_have_value("70")
        expect(page.get_by_label("Blue")).to_be_checked()
        page.get_by_role("link", name="Cancel").click()

        page.get_by_role("link", name="Stop a variant").click()
        page.get_by_label("Green").check()
        page.get_by_role("button", name="Stop a variant").click()
        green = page.locator("#variants tbody tr", has_text="Green")
        expect(green).to_contain_text("stopped")

        confirm(ana, "Pause")
        expect(page.locator(".status").first).to_have_text("paused")
        page.get_by_role("link", name="Undo: resume").click()
        page.get_by_role("button", name="Resume").click()
        expect(page.locator(".status").first).to_have_text("running")

        page.get_by_role("link", name="Ship a winner").click()
        page.get_by_label("Blue").check()
        page.get_by_label("Share that the control keeps").fill("10")
        page.get_by_role("button", name="Ship a winner").click()
        expect(page.locator("#headline")).to_contain_text("Blue is shipped.")
        confirm(ana, "Roll back")
        expect(page.locator("#headline")).to_contain_text("Rolled back.")
        found = client.get_experiment(experiment)
        assert found.promotion is not None
        assert found.promotion.rolled_back_at is not None


def test_a_form_creates_an_experiment_and_says_what_is_wrong(ana: Visit):
    page = ana.page
    ana.go("/")
    page.get_by_role("link", name="New experiment").click()
    page.locator("[id='config.name']").fill("Search ranking")
    page.locator("[id='config.key']").fill("Not a key")
    page.locator("[id='variants.1.name']").fill("Blue")
    page.locator("[id='metrics.0.name']").fill("purchase")
    expect(page.locator("#json pre")).to_contain_text('"primaryMetric": "purchase"')

    # Units and days stand beside the form while it is filled in.
    page.get_by_label("Mean of the control").fill("0.05")
    page.get_by_label("Lift to be found").fill("much")
    fault = page.locator("[id='config.plan.lift-fault']")
    expect(fault).to_have_text("Enter a number.")
    page.get_by_label("Lift to be found").fill("10")
    page.get_by_label("Units a day").fill("5000")
    expect(page.locator("#plan-verdict")).to_have_text(
        "31,234 users of each variant, 62,468 in all: 13 days."
    )
    expect(fault).to_have_text("")
    page.get_by_role("button", name="Plan with 31,234").click()
    expect(page.get_by_label("Planned units of each variant")).to_have_value("31234")
    expect(page.locator("#json pre")).to_contain_text('"units": 31234')
    expect(page.get_by_label("Units a day")).to_have_value("5000")

    page.get_by_role("button", name="Create as a draft").click()
    expect(page.get_by_role("alert")).to_contain_text("INVALID_KEY")
    page.get_by_role("alert").get_by_role("link").click()
    expect(page.locator("[id='config.key']")).to_be_focused()
    page.get_by_role("button", name="Add a variant").click()
    expect(page.locator("[id='config.name']")).to_have_value("Search ranking")
    page.locator("[id='variants.2.name']").fill("Green")
    page.locator("[id='config.key']").fill("by-hand")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Search ranking")
    expect(page.locator("#headline")).to_contain_text("Start it.")


def test_scopes_decide_what_is_offered(chromium: Browser, stack: Stack):
    with stack.client() as client:
        experiment = created(client, "Onboarding")
    with visiting(chromium, stack) as bo:
        bo.sign_in("reads")
        bo.page.get_by_role("link", name="Onboarding").click()
        expect(bo.page.locator("#headline")).to_be_visible()
        expect(bo.page.get_by_role("link", name="Start", exact=True)).to_have_count(0)
        bo.go(f"/experiments/{experiment}/commands/start")
        expect(bo.page.get_by_role("button", name="Start")).to_have_count(0)
        bo.page.get_by_role("button", name="Sign out").click()
        expect(bo.page.get_by_label("API key")).to_be_visible()
    with visiting(chromium, stack) as ads:
        ads.sign_in("assigns")
        expect(ads.page.get_by_role("heading", level=1)).to_have_text(
            "Your key does not allow this."
        )


def test_a_lost_connection_is_shown_and_recovers(ana: Visit, stack: Stack):
    page = ana.page
    with stack.client() as client:
        experiment = created(client, "Free shipping")
        client.start_experiment(experiment)
        send_traffic(client, experiment, 0, 100)
        ana.go(f"/experiments/{experiment}")
        connection = page.locator("#connection")
        expect(connection).to_have_text("Live")
        expect(page.locator(".facts")).to_contain_text("100 users", timeout=PATIENCE_MS)

        # The API, which the supervisor starts again.
        api = stack.child("api")
        api.send_signal(signal.SIGKILL)
        expect(connection).to_contain_text("Connection lost", timeout=PATIENCE_MS)
        expect(page.locator(".facts")).to_contain_text("100 users")
        expect(connection).to_have_text("Live", timeout=PATIENCE_MS)
        send_traffic(client, experiment, 100, 50)
        expect(page.locator(".facts")).to_contain_text("150 users", timeout=PATIENCE_MS)


def test_a_refused_record_is_read_and_sent_again(ana: Visit, stack: Stack):
    page = ana.page
    with stack.client() as client:
        experiment = created(client, "Image size")
        client.start_experiment(experiment)
        stack.publish_too_large(client, experiment)

        def n_shown() -> int:
            ana.go(f"/system/dead-letters?experiment={experiment}")
            expect(page.locator("#letters").get_by_role("status")).not_to_have_text(
                "Kafka is being read."
            )
            return page.locator(".letter").count()

        until(lambda: n_shown() == 1)
        letter = page.locator(".letter")
        expect(letter.get_by_role("heading")).to_have_text("VALUE_OUT_OF_BOUNDS")
        letter.locator("summary").click()
        expect(letter.locator("dl")).to_contain_text("SHA-256")

        # Nothing is sent before something is chosen, and confirmed.
        letter.get_by_role("checkbox").check()
        page.get_by_role("button", name="Send the chosen again").click()
        expect(page.locator("dl.effect")).to_contain_text("one without counts each time")
        page.get_by_role("button", name="Send again").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("1 record sent again, 0 refused.")

        # Its cause is as before, so it is refused once more.
        until(lambda: n_shown() == 2)


def test_the_system_page_comes_at_once_and_then_its_report(ana: Visit):
    page = ana.page
    held: list[Route] = []

    def is_held() -> bool:
        page.wait_for_timeout(20)  # lets the browser's events come
        return bool(held)

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/system/report", hold)
    ana.go("/")
    page.get_by_role("link", name="System").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("System")
    expect(page.locator("#report")).to_contain_text("This takes some seconds.")

    until(is_held)
    held.pop().continue_()

    expect(page.locator("#verdict")).to_be_visible()
    expect(page.locator("#workers")).to_contain_text("observations")
    page.locator("#workers summary", has_text="observations").click()
    expect(page.get_by_role("region", name="Partitions of").first).to_be_visible()


def test_a_report_that_fails_while_the_scripts_are_loaded_is_reported(ana: Visit):
    page = ana.page
    held: list[Route] = []

    def is_held() -> bool:
        page.wait_for_timeout(300)  # so long that what does not wait for the script has failed
        return bool(held)

    page.route("**/system/report", lambda route: route.abort())
    page.route("**/dashboard.js*", lambda route: held.append(route))  # noqa: PLW0108 - a builtin is refused
    page.goto(f"{ana.stack.dashboard}/system", wait_until="commit")
    until(is_held)
    held.pop().continue_()

    expect(page.locator("#report")).to_have_text(
        "The dashboard does not answer. Load the page again."
    )


@pytest.fixture(scope="module")
def shown(stack: Stack) -> str:
    """An experiment with everything that the pages can show."""
    with stack.client() as client:
        experiment = created(
            client,
            "Checkout button",
            type="bayesian_ab",
            description="A larger button.",
            owner="ana",
            tags=["checkout"],
            dimensions=[{"name": "device", "values": ["mobile"]}],
        )
        client.start_experiment(experiment)
        send_traffic(client, experiment, 0, 600)
        stack.publish_too_large(client, experiment)
        client.update_experiment(experiment, {"minSampleSize": 150}, reason="more certainty")
        until(lambda: client.get_experiment_history(experiment, "update"))
        until(lambda: client.list_dead_letters(experiment=experiment).letters)
    return experiment


def changed_entry(stack: Stack, experiment: str) -> str:
    """Return the id of an entry of a history whose values can be restored."""
    with stack.client() as client:
        found = client.get_experiment_history(experiment, "update")
    return next(each.id for each in found if each.undo.method == "PATCH")


def test_the_pictures_of_the_readme(ana: Visit, shown: str, tmp_path: Path):
    """`DASHBOARD_PICTURES=DIRECTORY` keeps them; this test comes before there are long names."""
    page, directory = ana.page, Path(os.environ.get("DASHBOARD_PICTURES", tmp_path))
    for name, path in (("list", "/"), ("experiment", f"/experiments/{shown}")):
        ana.go(path)
        expect(page.get_by_text("Checkout button").first).to_be_visible()
        expect(page.get_by_text(LONG_NAME)).to_have_count(0)
        page.screenshot(path=directory / f"dashboard-{name}.png")


LONG_NAME = "N" * 200


@pytest.fixture(scope="module")
def long_named(stack: Stack) -> str:
    """An experiment of names as long as the API takes them, without a blank."""
    with stack.client() as client:
        experiment = client.create_experiment(
            {
                "name": LONG_NAME,
                "description": "d" * 1_000,
                "owner": "o" * 100,
                "tags": ["t" * 50],
                "type": "bayesian_ab",
                "primaryMetric": "m" * 64,
                "metrics": {"m" * 64: {"kind": "binary"}},
            },
            [{"name": "C" * 100, "isControl": True}, {"name": "V" * 100}],
        )
        client.start_experiment(experiment.id)
        contexts = [AssignmentContext(user_id=f"u{index}") for index in range(300)]
        assigned = [one for (one,) in client.assign_variants([experiment.id], contexts)]
        client.record_observations(
            [
                ObservationRequest(assignment_id=each.id, metric="m" * 64, value=1)
                for each in assigned[::7]
                if isinstance(each, Assignment)
            ]
        )
        until(lambda: client.get_experiment_stats(experiment.id).metrics)
    return experiment.id


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1180, 390])
def test_pages_are_accessible_and_fit(
    chromium: Browser, stack: Stack, shown: str, long_named: str, theme: Any, width: int
):
    axe = (HERE / "vendor" / "axe.js").read_text()
    pictures = os.environ.get("DASHBOARD_PICTURES")
    options: dict[str, Any] = {
        "viewport": {"width": width, "height": 900},
        "color_scheme": theme,
        "reduced_motion": "reduce",
    }
    places = {
        "long": f"/experiments/{long_named}",
        "list": "/",
        "experiment": f"/experiments/{shown}",
        "slices": f"/experiments/{shown}?dimension=device",
        "ship": f"/experiments/{shown}/commands/ship",
        "create": "/experiments/new",
        "missing": "/experiments/missing",
        "system": "/system",
        "dead-letters": "/system/dead-letters",
        "restore": f"/experiments/{shown}/restore/{changed_entry(stack, shown)}",
        "resend": "/system/dead-letters/resend?place=observations:0:0:0",
    }
    parts = {"restore": "dl.effect", "system": "#verdict", "dead-letters": ".letter"}
    with visiting(chromium, stack, **options) as visit:
        page = visit.page
        visit.go("/sign-in")
        for name in ("sign-in", *places):
            if name != "sign-in":
                visit.go(places[name])
            if name in parts:
                expect(page.locator(parts[name]).first).to_be_visible()
            if name == "create":
                page.get_by_label("Mean of the control").fill("0.05")
                page.get_by_label("Lift to be found").fill("10")
                page.get_by_label("Units a day").fill("5000")
                expect(page.locator("#plan-verdict")).to_be_visible()
            page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            found = page.evaluate(f"{axe}; axe.run().then(found => found.violations)")
            assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], name
            root = "document.documentElement"
            assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"), name
            if pictures:
                target = Path(pictures) / f"{name}-{theme}-{width}.png"
                page.screenshot(path=target, full_page=True)
            visit.note_violations()
            if name == "sign-in":
                page.get_by_label("API key").fill(stack.keys["manages"])
                page.get_by_role("button", name="Sign in").click()
