"""HTTP/1 on the wire: what a client may send, for how long, and how it is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from api.http.connections import HttpLimits
from tests.api.http_server import PATIENT, Client, Served, request, served
from tests.patience import patience, until_true

QUICK = HttpLimits(head_timeout_s=0.5, body_timeout_s=0.5, answer_timeout_s=0.5, keep_alive_s=0.5)
GET = request()
POST = b"POST /assign HTTP/1.1\r\nHost: a\r\n"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as running:
        yield running


@pytest.fixture
async def quick(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, QUICK) as running:
        yield running


async def test_headers_beyond_64_kib_are_431_and_the_rest_is_not_read(server: Served) -> None:
    async with server.connect() as client:
        client.writer.write(b"GET /health HTTP/1.1\r\nHost: api\r\n")
        answer = await client.ask(b"".join(b"X-%d: %b\r\n" % (n, b"x" * 4096) for n in range(90)))

        assert (answer.status, answer.code) == (431, "HEADERS_TOO_LARGE")
        assert answer.headers["connection"] == "close"
        await client.closed()


@pytest.mark.parametrize("part", [b"x" * 30_000_000, b"x: 1\r\n" * 5_000_000])
async def test_30_mb_of_headers_are_refused_early(server: Served, part: bytes) -> None:
    async with server.connect() as client:
        client.writer.write(b"GET /health HTTP/1.1\r\nHost: api\r\nX-Long: ")
        answer = await client.ask(part)

        assert (answer.status, answer.code) == (431, "HEADERS_TOO_LARGE")


async def test_a_head_of_64_kib_is_taken(server: Served) -> None:
    answer = await server.ask(
        request("GET", "/health", *[f"X-{n}: {'x' * 990}" for n in range(64)])
    )

    assert answer.status == 200


async def test_a_head_of_60_kib_is_taken_in_however_many_parts_it_comes(server: Served) -> None:
    head = request("GET", "/health", *[f"X-{n}: {'x' * 990}" for n in range(60)])
    async with server.connect() as client:
        for start in range(0, len(head), 1_000):
            client.writer.write(head[start : start + 1_000])
            await asyncio.sleep(0.001)

        assert (await client.answer()).status == 200


async def test_a_head_beyond_the_limit_that_comes_at_once_is_431(tmp_path: Path) -> None:
    async with served(tmp_path, replace(PATIENT, max_head_bytes=1_024)) as server:
        answer = await server.ask(request("GET", "/health", f"X: {'x' * 1_024}"))
        good = await server.ask(request("GET", "/health", f"X: {'x' * 512}"))
        async with server.connect() as client:
            client.writer.write(request("GET", "/health", f"X: {'x' * 1_000}")[:-4])
            await asyncio.sleep(0.1)
            in_two = await client.ask(b"x" * 100 + b"\r\n\r\n")

    assert (in_two.status, in_two.code) == (431, "HEADERS_TOO_LARGE")
    assert (answer.status, answer.code) == (431, "HEADERS_TOO_LARGE")
    assert good.status == 200


async def test_too_many_headers_are_431(server: Served) -> None:
    answer = await server.ask(request("GET", "/health", *[f"X-{n}: 1" for n in range(101)]))

    assert (answer.status, answer.code) == (431, "HEADERS_TOO_LARGE")


async def test_a_header_in_tiny_parts_is_bounded_too(server: Served) -> None:
    async with server.connect() as client:
        client.writer.write(b"GET /health HTTP/1.1\r\nHost: api\r\nX: ")
        for _ in range(80):
            client.writer.write(b"x" * 1_000)
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)

        assert (await client.answer()).code == "HEADERS_TOO_LARGE"


async def test_a_url_of_5_mb_is_414(server: Served) -> None:
    answer = await server.ask(b"GET /" + b"x" * 5_000_000)

    assert (answer.status, answer.code) == (414, "URI_TOO_LONG")


@pytest.mark.parametrize(
    "bad",
    [
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /health\r\n\r\n",
        b"GET /health HTTP/3.7\r\nHost: a\r\n\r\n",
        b"NONSENSE /health HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /h\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a% HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /%ff%fe HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        POST + b"Content-Length: 2, 2\r\n\r\n{}",
        POST + b"Content-Length: -2\r\n\r\n{}",
        POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: gzip\r\n\r\n",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST /assign HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_400_once_and_closed(server: Served, bad: bytes) -> None:
    async with server.connect() as client:
        answer = await client.ask(bad)

        assert (answer.status, answer.code) == (400, "MALFORMED_REQUEST")
        assert answer.headers["content-type"] == "application/json"
        assert await client.reader.read() == b""
    assert server.errors["MALFORMED_REQUEST"] == 1


@pytest.mark.parametrize(
    "name",
    ["Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Origin"],
)
async def test_a_header_with_one_value_is_refused_twice(server: Served, name: str) -> None:
    async with server.connect() as client:
        answer = await client.ask(POST + f"{name}: a\r\n{name.lower()}: a\r\n\r\n".encode())

        assert (answer.status, answer.code) == (400, "MALFORMED_REQUEST")
        assert name.lower() in answer.body.decode()
        await client.closed()


@pytest.mark.parametrize("name", ["If-None-Match", "Accept", "X-Forwarded-For", "X-Any"])
async def test_a_header_that_is_a_list_may_be_repeated(server: Served, name: str) -> None:
    answer = await server.ask(request("GET", "/health", f"{name}: a", f"{name}: b"))

    assert answer.status == 200


@pytest.mark.parametrize(
    "target", ["/health", "/health/", "http://elsewhere/health", "/h%65alth", "/health#part"]
)
async def test_forms_of_a_target(server: Served, target: str) -> None:
    assert (await server.ask(request("GET", target))).status == 200


async def test_what_every_answer_has(server: Served) -> None:
    for target in ("/health", "/ready", "/nowhere", "/experiments"):
        answer = await server.ask(request("GET", target))

        assert int(answer.headers["content-length"]) == len(answer.body)
        assert "date" in answer.headers
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/json"


async def test_http_1_0_is_answered_and_closed(server: Served) -> None:
    async with server.connect() as client:
        answer = await client.ask(b"GET /health HTTP/1.0\r\n\r\n")

        assert answer.status == 200
        assert answer.headers["connection"] == "close"
        await client.closed()


async def test_a_body_in_chunks_with_trailers_is_taken(server: Served) -> None:
    name = await server.api.run({"unit": "user"})
    head = request("POST", f"/experiments/{name}/assign", "Transfer-Encoding: chunked")
    chunks = b'5;ext=1\r\n{"use\r\nA\r\nrId": "u"}\r\n0\r\nHost: other\r\nX: y\r\n\r\n'

    async with server.connect() as client:
        answer = await client.ask(head + chunks)
        again = await client.ask(GET)

    assert (answer.status, again.status) == (200, 200)


async def test_endless_trailers_are_refused(server: Served) -> None:
    head = request("POST", "/observations", "Transfer-Encoding: chunked")

    async with server.connect() as client:
        answer = await client.ask(head + b"0\r\n" + b"X: y\r\n" * 50_000)

    assert (answer.status, answer.code) == (431, "HEADERS_TOO_LARGE")


async def test_expect_100_continue_is_honoured(server: Served) -> None:
    body = b'{"experimentIds": [], "units": []}'
    head = request("POST", "/assign", "Expect: 100-continue", body=body)[: -len(body)]

    async with server.connect() as client:
        interim = await client.ask(head)
        final = await client.ask(body)

    assert (interim.status, final.status) == (100, 422)


async def test_who_expects_100_and_is_refused_is_not_read(server: Served) -> None:
    async with server.connect() as client:
        answer = await client.ask(
            request("POST", "/observations", "Expect: 100-continue", "Content-Length: 999999999")
        )

        assert (answer.status, answer.code) == (413, "BODY_TOO_LARGE")
        assert answer.headers["connection"] == "close"


async def test_an_early_refusal_arrives_although_the_client_goes_on_sending(
    server: Served,
) -> None:
    async with server.connect() as client:
        client.writer.write(request("POST", "/nowhere", "Content-Length: 5000000"))
        await asyncio.sleep(0.05)
        answer = await client.ask(b"x" * 1_000_000)

        assert (answer.status, answer.code) == (404, "NOT_FOUND")
        await client.closed()


@pytest.mark.parametrize("framing", ["length", "chunks", "none"])
async def test_an_upgrade_is_declined_and_its_body_read(server: Served, framing: str) -> None:
    name = await server.api.run({"unit": "user"})
    path = f"/experiments/{name}/assign"
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    body = b'{"userId": "u"}'
    sent = {
        "length": request("POST", path, *upgrade, body=body),
        "chunks": request("POST", path, *upgrade, "Transfer-Encoding: chunked")
        + b"f\r\n" + body + b"\r\n0\r\n\r\n",
        "none": request("GET", "/health", *upgrade),
    }[framing]  # fmt: skip

    async with server.connect() as client:
        first = await client.ask(sent)
        client.writer.write(sent[:-4])
        await client.writer.drain()
        await asyncio.sleep(0.02)
        again = await client.ask(sent[-4:])
        last = await client.ask(GET)

    assert (first.status, again.status, last.status) == (200, 200, 200)


async def test_a_bad_request_behind_an_upgrade_is_400(server: Served) -> None:
    upgrade = request("GET", "/health", "Connection: Upgrade", "Upgrade: h2c")

    async with server.connect() as client:
        client.writer.write(upgrade + b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n")

        assert [(await client.answer()).status for _ in range(2)] == [200, 400]
        await client.closed()


async def test_pipelined_requests_are_answered_in_order(server: Served) -> None:
    async with server.connect() as client:
        client.writer.write(GET + request("GET", "/nowhere") + GET)

        assert [(await client.answer()).status for _ in range(3)] == [200, 404, 200]


async def test_too_many_pipelined_requests_are_answered_up_to_a_bound(tmp_path: Path) -> None:
    limits = replace(PATIENT, max_pipelined=8)
    async with served(tmp_path, limits) as server, server.connect() as client:
        client.writer.write(GET * 5_000)
        answers = [await client.answer() for _ in range(10)]

        assert [answer.status for answer in answers] == [200] * 9 + [400]
        await client.closed()


async def test_a_bad_request_behind_a_good_one_leaves_it_its_answer(server: Served) -> None:
    async with server.connect() as client:
        client.writer.write(GET + b"NONSENSE\r\n\r\n")

        assert [(await client.answer()).status for _ in range(2)] == [200, 400]
        await client.closed()


async def test_a_client_that_closed_its_side_is_answered(server: Served) -> None:
    async with server.connect() as client:
        client.writer.write(GET)
        client.writer.write_eof()

        assert (await client.answer()).status == 200
        await client.closed()


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
async def test_a_silent_connection_is_closed(quick: Served, sent: bytes) -> None:
    async with quick.connect() as client:
        client.writer.write(sent)

        await client.closed()


@pytest.mark.parametrize(
    "part", [b"GET /hea", b"GET /health HTTP/1.1\r\nHost: a\r\nX: ", GET + b"GET /hea"]
)
async def test_a_slow_head_is_408(quick: Served, part: bytes) -> None:
    async with quick.connect() as client:
        client.writer.write(part)
        if part.startswith(GET):
            assert (await client.answer()).status == 200
        for _ in range(8):  # a byte now and then does not move the deadline
            client.writer.write(b"x")
            await asyncio.sleep(0.1)

        answer = await client.answer()
        assert (answer.status, answer.code) == (408, "REQUEST_TIMEOUT")
        await client.closed()


async def test_a_slow_body_is_408(quick: Served) -> None:
    async with quick.connect() as client:
        client.writer.write(request("POST", "/observations", "Content-Length: 100"))
        for _ in range(8):
            client.writer.write(b" ")
            await asyncio.sleep(0.1)

        answer = await client.answer()
        assert (answer.status, answer.code) == (408, "REQUEST_TIMEOUT")
        await client.closed()


async def test_an_idle_connection_is_closed_without_a_word(quick: Served) -> None:
    async with quick.connect() as client:
        assert (await client.ask(GET)).status == 200

        async with patience():
            assert await client.reader.read() == b""


async def test_a_client_that_does_not_read_is_cut_off(quick: Served) -> None:
    page = request("GET", "/static-offline-docs/swagger-ui-bundle.js")
    async with quick.connect() as client:
        client.reader._limit = 1  # type: ignore[attr-defined]  # pauses the transport at once
        client.writer.write(page * 8)
        await client.writer.drain()
        await until_true(lambda: len(quick.connections) == 1)
        await until_true(lambda: not len(quick.connections))


async def test_a_connection_beyond_the_limit_takes_the_place_of_one_that_waits(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, replace(PATIENT, max_connections=3)) as server:
        async with server.connect() as idle, server.connect() as silent, server.connect() as used:
            assert (await idle.ask(GET)).status == 200
            assert (await used.ask(GET)).status == 200
            async with server.connect() as fourth:
                assert (await fourth.ask(GET)).status == 200
                await silent.closed()
                async with server.connect() as fifth:
                    assert (await fifth.ask(GET)).status == 200
                    await idle.closed()
                    assert (await used.ask(GET)).status == 200
        assert server.connections.evicted == 2


async def test_connections_that_are_closing_make_room_before_any_other(tmp_path: Path) -> None:
    async with (
        served(tmp_path, replace(PATIENT, max_connections=3)) as server,
        server.connect() as used,
        server.connect() as one,
        server.connect() as two,
    ):
        assert (await used.ask(GET)).status == 200
        for refused in (one, two):  # refused within a body, and kept for what is still sent
            assert (await refused.ask(POST + b"Content-Length: 99999999\r\n\r\n")).status == 413
        assert len(server.connections) == 3
        for _ in range(2):
            assert (await server.ask(GET)).status == 200
        assert (await used.ask(GET)).status == 200


async def test_a_connection_is_refused_when_every_other_is_being_answered(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, replace(PATIENT, max_connections=2)) as server:
        server.api.worker.is_silent = True

        n_waiting, is_over = 0, asyncio.Event()

        async def slowly(command_id: str, timeout_s: float) -> None:
            nonlocal n_waiting
            n_waiting += 1
            await is_over.wait()

        server.api.reader.wait_for_answer = slowly  # type: ignore[method-assign]
        async with server.connect() as one, server.connect() as two:
            name = "exp_0000000000001"
            for client in (one, two):
                client.writer.write(request("POST", f"/experiments/{name}/start"))
            await until_true(lambda: n_waiting == 2)
            third = await server.ask(GET)
            is_over.set()
            waited = [await client.answer() for client in (one, two)]

    assert (third.status, third.code) == (503, "TOO_MANY_CONNECTIONS")
    assert third.headers["retry-after"] == "1"
    assert [answer.status for answer in waited] == [503, 503]


async def test_a_thousand_silent_connections_do_not_delay_assignments(tmp_path: Path) -> None:
    async with served(tmp_path, replace(PATIENT, max_connections=500)) as server:
        name = await server.api.run()
        ask = request("POST", f"/experiments/{name}/assign", body=b"{}")
        async with server.connect() as client:
            assert (await client.ask(ask)).status == 200
            alone_s = [await timed(client, ask) for _ in range(200)]
            silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(1_000)]
            beside_s = [await timed(client, ask) for _ in range(200)]
            for _, writer in silent:
                writer.close()

        assert len(server.connections) <= 500
        assert sorted(beside_s)[100] < 3 * sorted(alone_s)[100]


async def timed(client: Client, sent: bytes) -> float:
    """Return the CPU time of both sides."""
    began_s = time.process_time()
    assert (await client.ask(sent)).status == 200
    return time.process_time() - began_s
