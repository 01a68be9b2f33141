"""Webhooks: events of `decisions`, sent to addresses that receivers have named.

`definition` and `event_types` say what a webhook is, `log` keeps it in the topic `webhooks`,
`events` makes events of decisions, `progress` knows what was delivered and what waits, `addresses`
refuses where nothing may be sent, `sender` sends, and `delivery` is the process that does it all.
"""
