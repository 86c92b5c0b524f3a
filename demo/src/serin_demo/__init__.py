"""The demo: plays Serin's three stories on a real cluster and says what happened."""
