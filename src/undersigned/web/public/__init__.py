"""Pages for everybody: campaigns, signing, receipts, promises.

One module a journey. A view turns the request into values, makes one call into the
domain and turns the answer into a page; where a page joins several reads, a builder
beside it does. Every page works without scripts and sets no cookie.
"""
