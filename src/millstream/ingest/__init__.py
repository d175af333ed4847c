"""The world -> the log.

port.py       what a source promises: splits, batches, exact positions
contract.py   the suite every source passes
cast.py       columns of any type made into an event's columns; what does not fit is named
form.py       an event class as a strict JSON decoder
doors.py      may this machine's clock judge times; ahead.py: records of a source too far ahead of now
split.py      a JSON array cut into its items, whatever they hold
pump.py       sources -> log, merged by event time, data and position in one transaction
collector.py  events over HTTP -> log, durable before they are answered
"""
