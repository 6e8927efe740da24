"""Public files in an object store, so that others serve them: a CDN, or nginx.

Owns nothing on this machine: the folders ``public/`` and ``pages/`` stay what they are,
as fast and as durable, and a thread carries what is new in them to the store. What is
in a folder has been committed long before (``ledger.export``), so that nothing leaves
earlier; and no signature, publication or page ever waits for the store.

Invariants: tiles are there before the checkpoint that needs them, and that before its
count; a log is carried only where what the store holds is an earlier state of it; what
is erased is deleted before anything else is done; nothing is deleted but what has the
name of a file of ours, in a store that bears our mark.
"""
