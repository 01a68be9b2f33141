"""`python -m streams.local.journal`: keep the log of the embedded broker on disk until SIGTERM.

Exit 70 if it cannot continue; the supervisor starts it again.
"""

from __future__ import annotations

import signal
import threading

from confluent_kafka import KafkaException

from streams.local.journal.keeping import JournalKeeper
from streams.local.journal.store import Journal
from streams.local.plan import journal_of
from streams.model.errors import EngineError
from streams.process.exits import die
from streams.process.logs import configure_logging
from streams.process.reload import ignore_hangups
from streams.settings import load_settings


def main() -> None:
    """Keep the log, and exit."""
    ignore_hangups()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    settings = load_settings()
    configure_logging(settings.log_level)
    try:
        with Journal(journal_of(settings.data_dir)) as journal:
            JournalKeeper(settings, journal).run(stop.is_set)
    except (EngineError, KafkaException) as error:
        die(str(error))


if __name__ == "__main__":
    main()
