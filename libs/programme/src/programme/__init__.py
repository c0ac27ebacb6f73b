"""The pure rules of the loyalty programme: no I/O, no clock, no floats.

The state of a member is a function of the set of their events. Everything here takes instants and events as
values, so both services, every rebuild and every test decide alike.
"""
