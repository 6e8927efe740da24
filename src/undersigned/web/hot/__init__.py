"""The signing path and the public files as raw ASGI, in front of Django.

No framework, no cookies, no log lines. Bytes in, values to the domain, bytes out. See
docs/adr/0007 for why it is not a Django view.
"""
