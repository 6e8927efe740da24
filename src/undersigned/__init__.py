"""Undersigned: public campaigns that can be counted, checked and answered."""
