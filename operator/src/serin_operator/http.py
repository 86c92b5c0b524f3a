"""The one door to the HTTP client library, so that another can take its place. Not here: what is asked."""

import httpx as httpx
