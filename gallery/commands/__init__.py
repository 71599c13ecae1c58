"""Command lines of the gallery package; they work directly on a store, without the service."""
