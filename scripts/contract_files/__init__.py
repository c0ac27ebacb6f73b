"""What contracts/ and libs/client hold that is made from code and schemas. `make contracts` writes it."""
