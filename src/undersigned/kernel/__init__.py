"""What every package may use: errors, time, identifiers, durable files, sealed secrets.

Owns no domain word. A module enters here only when three packages need it.
"""
