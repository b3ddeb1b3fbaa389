"""The merge's state machine: evaluated records and requests in; ops, commits and catalog entries out."""
