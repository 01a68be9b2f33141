"""The projection in Redis: keys, reader, writer and first receipts."""
