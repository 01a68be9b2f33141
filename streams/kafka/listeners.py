"""Detection of a listener's protocol by the first bytes of a connection that sends no secret."""

from __future__ import annotations

import socket
import ssl
import struct

_PATIENCE_S = 1.0
_SASL_HANDSHAKE = 17
_MECHANISM = b"PLAIN"
_REQUEST = struct.Struct(f">ihhihh{len(_MECHANISM)}s")
_ANSWER = struct.Struct(">iih")
_NO_SASL = 34
"""Kafka's code of a handshake where none is asked for, `ILLEGAL_SASL_STATE`."""

_MAX_ANSWER_BYTES = 4096


def speaks_tls(address: str) -> bool | None:
    """Return whether a listener answers a TLS handshake; None if nothing answers."""
    plain = _connected(address)
    if plain is None:
        return None
    with plain:
        try:
            with _context().wrap_socket(plain, server_hostname=_host(address)):
                return True
        except ssl.SSLError as error:
            # Only an alert is an answer in TLS; other bytes and a closed connection are not.
            return "ALERT" in (error.reason or "")
        except TimeoutError:
            return None  # a broker that is busy or frozen: one without TLS ends the connection
        except OSError:
            return False


def asks_for_sasl(address: str, *, by_tls: bool) -> bool | None:
    """Return whether a listener asks its clients for SASL; None if it does not say.

    The probe sends a SASL handshake, which precedes authentication: a listener with SASL answers
    with its mechanisms, and any other listener with a specific error. A listener with SASL answers
    any other request by closing the connection, which is ambiguous.
    """
    plain = _connected(address)
    if plain is None:
        return None
    with plain:
        try:
            if not by_tls:
                return _is_sasl_offered(plain)
            with _context().wrap_socket(plain, server_hostname=_host(address)) as covered:
                return _is_sasl_offered(covered)
        except (OSError, struct.error):  # of TLS, too; it may ask for a certificate
            return None


def _is_sasl_offered(connection: socket.socket) -> bool | None:
    length = _REQUEST.size - 4
    # Version 1, correlation id 1, and no name of a client.
    request = _REQUEST.pack(length, _SASL_HANDSHAKE, 1, 1, -1, len(_MECHANISM), _MECHANISM)
    connection.sendall(request)
    answer = b""
    while len(answer) < _ANSWER.size:
        received = connection.recv(_MAX_ANSWER_BYTES)
        if not received:
            return None
        answer += received
    _, correlation, code = _ANSWER.unpack_from(answer)
    return code != _NO_SASL if correlation == 1 else None


def _connected(address: str) -> socket.socket | None:
    try:
        return socket.create_connection(
            (_host(address), int(address.rpartition(":")[2])), _PATIENCE_S
        )
    except (OSError, ValueError):
        return None


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only the protocol is probed, no secret is sent
    return context
