"""The catalogue columns: the table, requests, and what derives from base columns."""
