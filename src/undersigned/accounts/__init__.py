"""People with a login: organisers, moderators, verifiers, operators. Never signers.

Owns the user table. Everything else knows an account as the opaque reference of an
``Actor``. No log-in page exists yet; the model stands from the first migration on
because a user model cannot be replaced later.
"""
