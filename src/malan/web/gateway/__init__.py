"""The gateway: `/v1/…` as OpenAI's clients speak it, `/metrics`. Start at `app`."""
