"""RocksDB: the merge's row state and each node's bucket store. Both are functions of the op logs (rules M3, V1)."""
