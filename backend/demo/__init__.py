"""The demo: a small college that starts with one command.  Nothing here is used in production."""
