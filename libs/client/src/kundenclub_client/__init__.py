"""Calls of the Kunden-Club services, as a checkout needs them."""
