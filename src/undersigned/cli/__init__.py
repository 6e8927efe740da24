"""Operators' commands: ``undersigned NOUN VERB``, each a thin call into the domain.

A command that changes a log runs where the writer is: in this process, under the
writer lock, or in the server's process through its control socket.
"""
