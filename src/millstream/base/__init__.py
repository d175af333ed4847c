"""What every room may use. It imports no other room.

errors.py     the error tree; each error names the thing, the place and the fix
event.py      fields and schemas of events, and the columns that every stored row has
duration.py   lengths of time as text: "10m", "3h"
moments.py    microseconds since 1970 as datetimes and text
sql.py        quoted names
floats.py     floats that JSON has not
letters.py    small and capital letters, the same in every reader
place.py      where in the user's files something was written
words.py      names: letters, length, reserved words, the nearest known name
settings.py   layered settings in, one frozen `Settings` out; reads no file and no environment
secrets.py    removes secrets from a text
registry.py   from a URL to an engine
storage.py    what a disk refuses, as errors of ours
waits.py      when something that failed is tried again
theirs.py     errors of a user's code, in the user's words
gaps.py       what an engine may lack, named and checked
points.py     named moments at which a process may die, for tests
"""
