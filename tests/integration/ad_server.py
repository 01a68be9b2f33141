"""An ad server that assigns in its own process, until it is killed.

Its arguments: address of the API, key, directory, experiment, where impressions go, number of
impressions. It prints every receipt that it has answered with.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from experiment_streams_client.local import Keyring, LocalAssigner
from experiment_streams_client.local.kafka import KafkaSink


def main() -> None:
    """Assign so many impressions."""
    url, key, directory, experiment, kafka, topic, count = sys.argv[1:]
    sink = KafkaSink(json.loads(kafka), topic=topic) if kafka else None
    with LocalAssigner(
        url, Keyring.parse(key), Path(directory), sink=sink, every_s=0.05
    ) as assigner:
        for number in range(int(count)):
            found = assigner.assign(experiment, user_id=f"user_{number}", device="mobile")
            sys.stdout.write(f"{found.id}\n")
            sys.stdout.flush()
        assert assigner.asked == 0


if __name__ == "__main__":
    main()
