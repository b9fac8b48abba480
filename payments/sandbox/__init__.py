"""Both platforms simulated on this machine, signing for real: for the demo and for tests.

A program of its own: `python -m payments.sandbox --port 8001 --state DIR`.
"""

from payments.sandbox.keys import SandboxKeys, prepare

__all__ = ["SandboxKeys", "prepare"]
