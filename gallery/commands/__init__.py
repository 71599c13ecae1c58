"""Command lines of the gallery room: they work on a store directly, no service is asked."""
