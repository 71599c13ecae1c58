"""The web page in a real browser: enrol, identify, stranger, erase, key, keyboard, phone."""
