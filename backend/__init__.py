"""The Campus Card server."""
