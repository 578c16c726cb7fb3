"""The Dataspace Protocol 2025-1 behind its HTTP face: words, messages, state machines, delivery, trust.

`services.exchange.negotiation` and `services.exchange.transfers` are the use cases; start there. Here is what both
stand on.
"""
