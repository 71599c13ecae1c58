"""The other kinds of search index, for galleries that are too large for the exact one."""
