"""What is sent to do harm: files, made in `corpus`, and requests, in the tests beside it."""
