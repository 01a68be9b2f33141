from types import SimpleNamespace

import pytest

from streams.model.errors import ConfigurationError, DependencyError
from streams.process import running
from streams.process.running import EXIT_DEPENDENCY, run_process


@pytest.fixture(autouse=True)
def levels(monkeypatch):
    """Levels that the log was configured with; the test's own log stays as it is."""
    found: list[str] = []
    monkeypatch.setattr(running, "configure_logging", found.append)
    return found


def load():
    return SimpleNamespace(log_level="INFO")


def failing(error):
    async def serve(_settings):
        raise error

    return serve


def test_a_process_serves_with_its_settings_and_ends_with_0(levels):
    served = []

    async def serve(settings):
        served.append(settings)

    assert run_process(load, serve) == 0
    assert served == [load()]
    assert levels == ["INFO"]


def test_a_configuration_error_is_written_and_ends_with_2(capsys):
    def refuse():
        raise ConfigurationError("port == 0, must be in 1..65535", "port")

    async def serve(_settings):
        raise AssertionError

    assert run_process(refuse, serve) == 2
    assert "port == 0" in capsys.readouterr().err
    assert run_process(load, failing(ConfigurationError("no key", "keys"))) == 2


def test_an_outage_is_written_and_ends_with_1_unless_it_ends_the_process(capsys):
    error = DependencyError("kafka", "no broker answers")

    assert run_process(load, failing(error)) == EXIT_DEPENDENCY
    assert str(error) in capsys.readouterr().err

    with pytest.raises(SystemExit, match="no broker answers"):
        run_process(load, failing(error), on_outage=exit)
