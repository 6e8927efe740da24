"""Recount an Undersigned log without trusting whoever runs it.

Standalone: nothing but ``cryptography`` and the standard library, and nothing of the
product. README.md lists the commands, the exit statuses and every fault.
"""

__version__ = "0.1.0"
