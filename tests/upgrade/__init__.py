"""A data directory left by every earlier version opens, whole, in this one."""
