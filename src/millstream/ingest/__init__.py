"""The world -> the log.

port.py       what a source promises: splits, batches, exact positions
contract.py   the suite every source passes
cast.py       columns of any type made into an event's columns; what does not fit is named
become.py     one column in a field's type: what loses nothing and is no guess; digits.py: numbers as they are written
form.py       an event class as a strict JSON decoder; spelled.py: JSON's other spellings of what it takes
objects.py    Python objects of an event class as that JSON
doors.py      may this machine's clock judge times; ahead.py: records of a source too far ahead of now
split.py      a JSON array cut into its items, whatever they hold
pump.py       sources -> log, merged by event time, data and position in one transaction
collector.py  events over HTTP -> log, durable before they are answered
"""
