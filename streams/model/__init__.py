"""Ids, quantities, receipts, events and errors. Pure; imports no other package of the project."""
