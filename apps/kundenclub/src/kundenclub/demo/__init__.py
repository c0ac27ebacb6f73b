"""The demonstration: a year of real purchases through the whole system, and a webshop checkout."""
