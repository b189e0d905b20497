"""What a user's night may do to the program: kills, full disks, damaged files, absurd values.

The suite runs a short form; `make faults` (`python -m tests.faults`) the full one, which
prints a table.
"""
