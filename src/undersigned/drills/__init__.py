"""Attacks on the product, run as commands: ``undersigned drill NAME``.

Owns the attackers, the load and the judges of docs/operate/drills.md, and nothing that
the running product needs: no other package imports this one. Each drill works in a data
directory of its own, made for it and removed after it, in a process of its own; what it
finds comes back as a ``report.Report``. The promises attacked are PROTOCOL §1's; a
drill that cannot be failed proves nothing, so tests/drills breaks what each one guards.
"""
