"""One vLLM engine for a run: adapters with numbers of their own, requests as it wants them, and proofs."""
