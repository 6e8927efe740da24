"""Every change that concerns signatures, one file a verb."""
