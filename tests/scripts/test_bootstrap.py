"""Bootstrap: pip comes from the index that its own configuration names, and is the pinned file."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading

import pytest

from scripts import bootstrap

CONTENT = b"a wheel"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index on loopback that offers one wheel."""
    folder = tmp_path / "index" / "simple" / "pip"
    folder.mkdir(parents=True)
    (folder / bootstrap.PIP_WHEEL).write_bytes(CONTENT)
    link = f'<a href="{bootstrap.PIP_WHEEL}#sha256=0">{bootstrap.PIP_WHEEL}</a>'
    (folder / "index.html").write_text(f'<a href="pip-1.0-py3-none-any.whl">old</a>{link}')
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "index")
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        yield
        server.shutdown()


@pytest.mark.usefixtures("index")
def test_the_pinned_wheel_of_the_configured_index_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap, "PIP_SHA256", hashlib.sha256(CONTENT).hexdigest())

    wheel = bootstrap.wheel_of_index(tmp_path)

    assert wheel is not None
    assert wheel.name == bootstrap.PIP_WHEEL
    assert wheel.read_bytes() == CONTENT


@pytest.mark.usefixtures("index")
def test_another_file_under_the_pinned_name_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="is not the pinned file"):
        bootstrap.wheel_of_index(tmp_path)

    assert not (tmp_path / bootstrap.PIP_WHEEL).exists()


def test_without_a_configured_index_none_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap, "configured_index", lambda: None)

    assert bootstrap.wheel_of_index(tmp_path) is None


def test_an_index_on_the_file_system_is_refused():
    with pytest.raises(SystemExit, match="must be http or https"):
        bootstrap.download("file:///etc/hostname")
