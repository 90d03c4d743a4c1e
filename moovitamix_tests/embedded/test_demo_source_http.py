"""The demonstration source speaks the source's contract over HTTP."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime, timedelta

import httpx
import msgspec
import pytest

from moovitamix.embedded.demo_source.app import create_app
from moovitamix.embedded.demo_source.contract import ListenHistoryOut, TracksOut, UsersOut
from moovitamix.embedded.demo_source.records import ListenRecord, TrackRecord, UserRecord
from moovitamix.embedded.demo_source.world import DemoParameters, DemoWorld
from moovitamix_tests.reference_source import serve_app

PARAMETERS = DemoParameters(
    first_day=date(2026, 9, 24), days=20, users=250, tracks=330, listens=5_000
)
NOW = datetime.fromisoformat("2026-10-14T12:00:00")
ENDPOINTS = ("tracks", "users", "listen_history")


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    app = create_app(PARAMETERS, lambda: NOW)
    with serve_app(app) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("query", ["page=0", "page=-1", "page=x", "size=0", "size=101"])
def test_bad_pages_and_sizes_are_refused(client: httpx.Client, endpoint: str, query: str) -> None:
    answer = client.get(f"/{endpoint}?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", query.partition("=")[0]]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_page_past_the_end_is_empty_and_no_error(client: httpx.Client, endpoint: str) -> None:
    answer = client.get(f"/{endpoint}?page=100000000000000&size=7")
    assert answer.status_code == 200
    page = answer.json()
    assert page["items"] == []
    assert page["page"] == 100_000_000_000_000
    assert page["pages"] == -(-page["total"] // 7)


@pytest.mark.parametrize(
    ("endpoint", "keys"),
    [("tracks", ["id"]), ("users", ["id"]), ("listen_history", ["user_id", "created_at"])],
)
@pytest.mark.parametrize("size", [100, 33])
def test_all_pages_together_hold_each_record_once(
    client: httpx.Client, endpoint: str, keys: list[str], size: int
) -> None:
    first = client.get(f"/{endpoint}", params={"size": size}).json()
    assert set(first) == {"items", "total", "page", "size", "pages"}
    assert (first["page"], first["size"]) == (1, size)
    seen = []
    for number in range(1, first["pages"] + 1):
        page = client.get(f"/{endpoint}", params={"page": number, "size": size}).json()
        assert len(page["items"]) == size or number == first["pages"]
        seen += [tuple(item[key] for key in keys) for item in page["items"]]
    assert len(seen) == len(set(seen)) == first["total"] > 200


def test_the_default_is_the_first_page_of_a_hundred(client: httpx.Client) -> None:
    for endpoint in ENDPOINTS:
        default = client.get(f"/{endpoint}")
        assert default.headers["content-type"] == "application/json"
        assert default.content == client.get(f"/{endpoint}?page=1&size=100").content


def test_the_root_leads_to_the_documentation(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.is_redirect
    assert answer.headers["location"] == "/docs"
    assert client.get("/docs").status_code == 200


def test_the_description_names_the_contract(client: httpx.Client) -> None:
    description = client.get("/openapi.json").json()
    assert set(description["paths"]) == {"/", "/tracks", "/users", "/listen_history"}
    parameters = description["paths"]["/tracks"]["get"]["parameters"]
    assert [(p["name"], p["schema"].get("maximum")) for p in parameters] == [
        ("page", None),
        ("size", 100),
    ]
    schemas = description["components"]["schemas"]
    assert schemas["PageCustomized_ListenHistoryOut_"]["required"] == [
        "items",
        "total",
        "page",
        "size",
    ]


def test_what_is_sent_is_what_is_described(client: httpx.Client) -> None:
    for endpoint, model, record in (
        ("tracks", TracksOut, TrackRecord),
        ("users", UsersOut, UserRecord),
        ("listen_history", ListenHistoryOut, ListenRecord),
    ):
        assert list(model.model_fields) == list(record.__struct_fields__)
        for item in client.get(f"/{endpoint}").json()["items"]:
            assert list(item) == list(model.model_fields)
            sent = model.model_validate(item)
            for field in ("created_at", "updated_at"):
                moment = getattr(sent, field)
                assert moment.isoformat(timespec="microseconds") == item[field]
                assert moment <= NOW


def test_the_pages_are_the_worlds_records(client: httpx.Client) -> None:
    sent = msgspec.convert(
        client.get("/listen_history?page=3&size=50").json()["items"], list[ListenRecord]
    )
    assert sent == DemoWorld(PARAMETERS).listens(100, 150, NOW)


def test_with_a_running_clock_the_last_page_gains_at_its_end() -> None:
    moments = iter([NOW, NOW + timedelta(hours=3)])
    with serve_app(create_app(PARAMETERS, lambda: next(moments))) as url:
        before = httpx.get(f"{url}/listen_history?page=13").json()
        after = httpx.get(f"{url}/listen_history?page=13").json()
    assert before["total"] < after["total"]
    assert [i["created_at"] for i in after["items"]][: len(before["items"])] == [
        i["created_at"] for i in before["items"]
    ]


SERVE = """
import sys
from datetime import date
from moovitamix.embedded.demo_source.clock import SimulatedClock
from moovitamix.embedded.demo_source.server import serve
from moovitamix.embedded.demo_source.world import DemoParameters
serve(
    DemoParameters(first_day=date(2026, 9, 24)),
    port=int(sys.argv[1]),
    clock=SimulatedClock(),
    on_ready=lambda port: print(port, {"dagster", "polars"} & set(sys.modules), flush=True),
)
print("ended")
"""


def test_the_server_tells_its_port_answers_and_ends_on_an_interrupt() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            port, heavy_modules = process.stdout.readline().split()
            assert heavy_modules == "set()"
            assert httpx.get(f"http://127.0.0.1:{port}/users").json()["total"] > 2_500
            process.send_signal(signal.SIGINT)
            assert process.stdout.read() == "ended\n"
        finally:
            process.kill()
    assert process.returncode == 0


def test_a_taken_port_is_a_settings_error_that_says_what_to_do(client: httpx.Client) -> None:
    taken = subprocess.run(
        [sys.executable, "-c", SERVE, str(client.base_url.port)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert taken.returncode == 1
    assert "SettingsError" in taken.stderr
    assert "choose another port, or 0" in taken.stderr
