"""Protects personal data in encoded rows, by the rules of a policy."""
