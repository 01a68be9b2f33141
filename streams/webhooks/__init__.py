"""Webhooks: events of `decisions`, sent to addresses of receivers.

`definition` and `event_types` define a webhook, `log` stores it in the topic `webhooks`, `events`
derives events from decisions, `progress` tracks delivered and waiting events, `addresses` refuses
forbidden addresses, `sender` sends, and `delivery` is the process that combines them.
"""
