"""The endpoints, one module a subject: walks, people, health, and the web page."""
