"""The staff's face (后台), under /console: pages made on the server, without any script.

It shows what services return and calls what services do; it has no rule of its own.
"""
