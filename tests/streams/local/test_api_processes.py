"""API processes that share a port: their environments, and the port itself."""

from __future__ import annotations

import socket

import pytest

from api.http.server import listening_socket
from streams.local.api_processes import api_environments, reserved_port
from streams.model.errors import ConfigurationError


def test_each_process_has_its_name_and_its_metrics_port():
    shared = {"EXPERIMENT_API_METRICS_PORT": "9100", "OTHER": "x"}

    found = api_environments(shared, 2)

    assert [each["EXPERIMENT_API_PROCESS"] for each in found] == ["1", "2"]
    assert [each["EXPERIMENT_API_METRICS_PORT"] for each in found] == ["9100", "9101"]
    assert {each["OTHER"] for each in found} == {"x"}


def test_without_a_metrics_port_none_has_one():
    assert [each["EXPERIMENT_API_METRICS_PORT"] for each in api_environments({}, 2)] == ["0", "0"]


def test_a_reserved_port_is_shared_by_processes_and_refused_to_others():
    with (
        reserved_port("127.0.0.1", 0) as port,
        listening_socket("127.0.0.1", port, is_shared=True) as one,
        listening_socket("127.0.0.1", port, is_shared=True) as two,
    ):
        assert one.getsockname() == two.getsockname() == ("127.0.0.1", port)
        with pytest.raises(ConfigurationError), reserved_port("127.0.0.1", port):
            pass
        with pytest.raises(ConfigurationError):
            listening_socket("127.0.0.1", port)


def test_the_socket_that_holds_a_port_takes_no_connection():
    with reserved_port("127.0.0.1", 0) as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_port_of_another_process_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        with pytest.raises(ConfigurationError), reserved_port("127.0.0.1", port):
            pass
