"""Features: one definition, two readers with bit-for-bit identical results.

define.py      a features noun -> a definition
definition.py  expressions compiled, and the fingerprint that names the data
window.py      windows, hops, and the exact cover of a window by tiles
keys.py        the columns of a key as one string
state.py       what a tile keeps, how tiles merge, and the one finaliser
tiles.py       the SQL of tiles, covers and running tails
offline.py     features of many past moments, from the lake
steps.py       logged positions as a sequence that visibility is compared with
port.py        the online store
contract.py    the suite that its engines pass
online.py      the answer of a look-up, and many definitions in one request
events.py      records of a stream as a definition's events
lift.py        events as states, column by column
updater.py     the log -> the online store, exactly once
fill.py        a table's version -> the online store
fits.py        whether a table's columns have the types that its features need
outcome.py     the SQL of outcomes
skew.py        logged look-ups compared with the offline reader
missed.py      rows of a table that came too late for look-ups, or were restated
"""
