"""Serin: a Kubernetes operator that takes a fine-tuned language model from data to watched production."""
