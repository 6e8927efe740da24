"""HTTP, by audience: public pages, the raw signing path, and what they share.

A view turns a request into values, makes one call into the domain, and turns the
answer into a page. Nothing below ``web`` knows HTTP.
"""
