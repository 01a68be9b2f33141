"""The spool: files for records that were answered and are not yet acknowledged by Kafka."""
