"""Features: one definition, two readers that agree in bits.

definition.py  a features noun with its expressions compiled, and the fingerprint that names its data
define.py      noun -> definition
window.py      windows, hops, and the exact cover of a window by tiles
keys.py        the columns of a key as one string
state.py       what a tile keeps, how tiles merge, and the one finaliser
tiles.py       the SQL of tiles, covers and running tails
offline.py     features of many past moments, from the lake
steps.py       logged positions as a sequence that visibility can be compared with
port.py        the online store; contract.py proves its engines
online.py      the answer of a look-up, and many definitions looked up for one request
events.py      records of a stream as a definition's events
lift.py        events as states, column by column
updater.py     the log -> the online store, exactly once
fits.py        whether a table has columns of the types that its features take them for
fill.py        a table's version -> the online store, up to the position at which the updater goes on
skew.py        logged look-ups beside what offline says of the same positions
missed.py       rows of a table that came too late for look-ups, or were restated after them
"""
