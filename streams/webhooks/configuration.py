"""The settings of webhooks, parsed."""

from __future__ import annotations

from streams.model.errors import ConfigurationError
from streams.settings import ENVIRONMENT_PREFIX, Settings
from streams.webhooks.addresses import AddressPolicy, networks


def policy_of(settings: Settings) -> AddressPolicy:
    """Return the policy of allowed addresses.

    Raises:
        ConfigurationError: a network is invalid.
    """
    try:
        return AddressPolicy(
            networks(settings.webhook_allowed_networks), settings.webhook_allow_http
        )
    except ValueError as error:
        variable = f"{ENVIRONMENT_PREFIX}WEBHOOK_ALLOWED_NETWORKS"
        raise ConfigurationError(f"{variable}: {error}", variable) from error


def retries_of(text: str) -> tuple[int, ...]:
    """Return the retry pauses in a setting.

    >>> retries_of("5,300")
    (5, 300)
    """
    return tuple(map(int, text.split(",")))
