"""The world -> the log.

port.py       what a source promises: splits, batches, exact positions
contract.py   the suite that every source passes
pump.py       sources -> log, merged by event time; data and position in one transaction
reading.py    one split while it is read
append.py     batches of events -> log, good ones and dead letters
collector.py  events over HTTP -> log, durable before the reply
form.py       an event class as a strict JSON decoder
spelled.py    other spellings of JSON that it accepts
split.py      a JSON array cut into its items
objects.py    Python objects of an event class as that JSON
cast.py       columns of any type as an event's columns
become.py     one column as a field's type, without loss or guessing
digits.py     numbers as they are written
doors.py      whether this machine's clock may judge times
ahead.py      records too far ahead of now
"""
