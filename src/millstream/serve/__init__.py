"""A model behind HTTP; its decisions are one more stream.

request.py  the class of a request -> a decoder, and its complaints in words
decide.py   one endpoint as it stands: route, look up, derive, predict
record.py   the stream of decisions, and the recorder that answers only when they are durable
live.py     versions and experiments behind the endpoints, swapped while they serve
updates.py  the feature updaters of the process
address.py  whether a port is free, and which setting to change
server.py   the HTTP face: `app(...)` and `run(...)`
meter.py    counters and histograms as Prometheus text
wire.py     JSON replies, the one shape of an error, bodies with a limit
"""
