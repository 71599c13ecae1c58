"""The other engines of a gallery's index, for galleries too large for the exact one."""
