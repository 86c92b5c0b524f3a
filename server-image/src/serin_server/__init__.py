"""Serin's small model server: OpenAI's API on a CPU, measured under vLLM's metric names.

It serves one verified model from one process. Not here: traffic between revisions, which is the gateway's business.
"""

__version__ = "0.1.0"
