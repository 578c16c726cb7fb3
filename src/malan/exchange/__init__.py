"""The connector other organisations talk to: the Dataspace Protocol 2025-1 over HTTP. Start at `app`."""
