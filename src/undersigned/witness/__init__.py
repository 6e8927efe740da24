"""Witnessing: what we say of other people's logs, and what others say of ours.

Owns two things that share a protocol (C2SP tlog-witness) and nothing else.

As a **witness** of others (``store``, ``operations.cosign_checkpoint``): the witness's
key, ``witness.sqlite3`` with the newest cosigned state of every trusted log, and
``witness-mark.json``, which ties the two together. Invariants: for one origin and one
key, never two root hashes of one size, never a state that does not continue the last
one, never a time earlier than the last one; durable before anybody hears of it.

As a log that **is witnessed** (``policy``, ``dialogue``, ``feeder``): the list of our
witnesses and the quorum in ``witnesses.json``, the published ``policy.txt``, and the
threads that ask for cosignatures. The spine itself belongs to the ledger, and is seen
through ``feeder.Spine``.

It knows origins, keys, sizes and root hashes: no campaign, no person, and not who asks.
"""
