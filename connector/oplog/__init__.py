"""The algebra of a bucket: ops, names, checksums, fold, compaction."""
