"""The Debezium envelope to a change; source types to SQLite values."""
