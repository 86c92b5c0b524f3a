"""Pure builders of the objects that Serin creates. Input: our API models. Output: plain manifests."""
