"""The ledger's store in PostgreSQL, for several web processes and one sequencer a log.

Owns the tables of the ``ledger`` database (``schema``), the intake of signatures from
any number of processes (``inbox``), the right to move a log (``lease``), and what is
done so that the server keeps no order (``traces``). Does not own the tree: what is
appended, and how it is signed and exported, is the same for either store.

Needs the extra ``scale``. docs/adr/0017 says why it is so, and what it cannot do.
"""
