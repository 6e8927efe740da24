"""Public pages as files: made once when what they show has changed, then only read.

Owns the folder ``pages/`` of the data directory and the thread that fills it. Which
pages there are, and what each depends on, is told by their audience
(``web.public.kept``); who reads the files is the front (``web.hot``), nginx, or both.

Invariants: a page here is what Django answers to everybody, byte for byte; only pages
of a known list exist, so that no request makes a file of its own; what was erased is
gone from here before whoever erased it is told so.
"""
