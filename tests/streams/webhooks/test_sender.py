"""Sending to real receivers that fail, hang, redirect, talk too much, or are somewhere else."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from streams.webhooks import sender as module
from streams.webhooks.addresses import AddressPolicy, networks, target_of
from streams.webhooks.sender import DeliveryFailure, Sender
from tests.patience import PATIENCE_S
from tests.streams.webhooks.receiver import receiving

LOCAL = AddressPolicy(networks("127.0.0.0/8"), allows_http=True)


async def sent(url: str, policy=LOCAL, timeout_s=PATIENCE_S, body=b"{}"):
    async with Sender(policy, timeout_s, ssl.create_default_context()) as sender:
        target = target_of(url, AddressPolicy(networks("0.0.0.0/0, ::/0"), allows_http=True))
        return await sender.post(target, {"webhook-id": "msg_1"}, body)


def answer(line: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {line}", *headers, "Content-Length: 0", "", ""]).encode()


@pytest.mark.parametrize(
    ("line", "failure"),
    [
        ("200 OK", None),
        ("202 Accepted", None),
        ("204 No Content", None),
        ("400 Bad Request", DeliveryFailure.REFUSED),
        ("404 Not Found", DeliveryFailure.REFUSED),
        ("410 Gone", DeliveryFailure.GONE),
        ("429 Too Many Requests", DeliveryFailure.REFUSED),
        ("500 Internal Server Error", DeliveryFailure.SERVER_ERROR),
        ("503 Service Unavailable", DeliveryFailure.SERVER_ERROR),
        ("304 Not Modified", DeliveryFailure.REDIRECTED),
    ],
)
async def test_a_status_decides(line, failure):
    async with receiving() as receiver:
        receiver.answers["/"] = answer(line, "Retry-After: 7")

        found = await sent(receiver.url(), body=b'{"a":1}')

        assert (found.failure, found.status) == (failure, int(line[:3]))
        assert found.retry_after_s == (7.0 if line[:3] in {"429", "503"} else 0.0)
        [(path, headers, body)] = receiver.received
        assert (path, headers["webhook-id"], body) == ("/", "msg_1", b'{"a":1}')
        assert headers["host"] == f"127.0.0.1:{receiver.port}"


async def test_no_redirect_is_followed():
    async with receiving() as receiver:
        receiver.answers["/"] = answer("307 Temporary Redirect", f"Location: {receiver.url('/in')}")

        found = await sent(receiver.url())

        assert found.failure is DeliveryFailure.REDIRECTED
        assert [path for path, *_ in receiver.received] == ["/"]


async def test_a_receiver_that_does_not_answer_costs_its_time_limit():
    async with receiving() as receiver:
        receiver.answers["/"] = None

        found = await sent(receiver.url(), timeout_s=0.3)

        assert (found.failure, found.status) == (DeliveryFailure.TIMED_OUT, None)


@pytest.mark.parametrize(
    ("line", "rest", "failure"),
    [
        ("200 OK", b"Content-Length: 10\r\n\r\nslow", None),  # and then nothing
        ("200 OK", b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", None),
        ("410 Gone", b"Content-Length: 10\r\n\r\nslow", DeliveryFailure.GONE),
        ("500 Oops", b"Transfer-Encoding: chunked\r\n\r\nx\r\n", DeliveryFailure.SERVER_ERROR),
    ],
)
async def test_the_status_decides_whatever_becomes_of_the_rest_of_the_answer(line, rest, failure):
    async with receiving() as receiver:
        receiver.answers["/"] = f"HTTP/1.1 {line}\r\n".encode() + rest

        found = await sent(receiver.url(), timeout_s=2.0)

        assert (found.status, found.failure) == (int(line[:3]), failure)


async def test_an_answer_without_end_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 1_000)
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"a" * 100_000
    async with receiving() as receiver:
        receiver.answers["/"] = endless

        found = await sent(receiver.url())

        assert found.failure is None  # the rest never comes


@pytest.mark.parametrize(
    ("raw", "failure"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", DeliveryFailure.PROTOCOL_ERROR),
        (
            b"HTTP/1.1 200 OK\r\n" + b"x: " + b"a" * 200_000 + b"\r\n\r\n",
            DeliveryFailure.PROTOCOL_ERROR,
        ),
    ],
)
async def test_what_is_no_http_is_a_failure(raw, failure):
    async with receiving() as receiver:
        receiver.answers["/"] = raw

        assert (await sent(receiver.url())).failure is failure


async def test_where_nothing_listens_is_a_failure():
    async with receiving() as receiver:
        url = receiver.url()
    await asyncio.sleep(0)

    assert (await sent(url)).failure is DeliveryFailure.CONNECTION_FAILED


@pytest.fixture
def certificate(tmp_path):
    """Return the file of a certificate for receiver.example, with its key, self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("receiver.example")]), False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "receiver.pem"
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    file.write_bytes(
        made.public_bytes(pem) + key.private_bytes(pem, form, serialization.NoEncryption())
    )
    return file


async def test_a_certificate_is_checked_for_the_name_and_not_the_address(certificate, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", Rebinding(["127.0.0.1"]))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=certificate)
    outcomes = []
    async with receiving(server) as receiver:
        for host, context in (
            ("receiver.example", trusting),
            ("other.example", trusting),
            ("receiver.example", ssl.create_default_context()),
        ):
            async with Sender(LOCAL, PATIENCE_S, context) as sender:
                url = f"https://{host}:{receiver.port}/"
                outcomes.append(await sender.post(target_of(url, LOCAL), {"webhook-id": "1"}, b""))

    assert [each.failure for each in outcomes] == [
        None,
        DeliveryFailure.TLS_FAILED,
        DeliveryFailure.TLS_FAILED,
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "localhost"])
async def test_a_private_address_is_never_connected_to(host):
    """However it is written: it is the address that the resolver gives that is checked."""
    async with receiving() as receiver:
        found = await sent(receiver.url(host=host), AddressPolicy(allows_http=True))

        assert found.failure is DeliveryFailure.ADDRESS_NOT_ALLOWED
        assert receiver.received == []


class Rebinding:
    """A resolver that gives a public address first, and another one every time after."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    def __call__(self, host: str, port: int, **_: object) -> list[object]:
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]


async def test_a_name_that_becomes_private_is_refused(monkeypatch):
    """The address that is checked is connected to, and that of the next connection checked, too."""
    async with receiving() as receiver:
        resolver = Rebinding(["127.0.0.1"], ["10.0.0.1"])
        monkeypatch.setattr(socket, "getaddrinfo", resolver)
        async with Sender(LOCAL, PATIENCE_S, ssl.create_default_context()) as sender:
            target = target_of(receiver.url(host="receiver.example"), LOCAL)
            receiver.answers["/"] = answer("200 OK", "Connection: close")

            first = await sender.post(target, {"webhook-id": "1"}, b"")
            second = await sender.post(target, {"webhook-id": "2"}, b"")

        assert (first.failure, second.failure) == (None, DeliveryFailure.ADDRESS_NOT_ALLOWED)
        assert receiver.received[0][1]["host"] == f"receiver.example:{receiver.port}"


async def test_one_private_address_among_others_refuses_a_name(monkeypatch):
    async with receiving() as receiver:
        resolver = Rebinding(["127.0.0.1", "169.254.169.254"])
        monkeypatch.setattr(socket, "getaddrinfo", resolver)

        found = await sent(receiver.url(host="receiver.example"))

        assert found.failure is DeliveryFailure.ADDRESS_NOT_ALLOWED
        assert receiver.received == []


async def test_a_name_that_is_not_resolved_delays_no_other(monkeypatch):
    is_over = threading.Event()

    def resolve(host: str, port: int, **_: object) -> list[object]:
        if host == "slow.example":
            assert is_over.wait(PATIENCE_S)
            return []
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with receiving() as receiver, Sender(LOCAL, PATIENCE_S) as sender:
        slow = target_of(receiver.url(host="slow.example"), LOCAL)
        fast = target_of(receiver.url(host="fast.example"), LOCAL)
        waiting = [asyncio.create_task(sender.post(slow, {}, b"")) for _ in range(200)]
        await asyncio.sleep(0)

        found = await sender.post(fast, {"webhook-id": "1"}, b"")

        assert found.failure is None
        assert not any(task.done() for task in waiting)
        is_over.set()
        outcomes = await asyncio.gather(*waiting)
        assert {each.failure for each in outcomes} == {DeliveryFailure.NAME_NOT_RESOLVED}
