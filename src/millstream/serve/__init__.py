"""A model behind HTTP; its decisions are one more stream.

request.py    the class of a request -> a decoder, and its complaints in words
decisions.py  the stream of an endpoint's decisions; all streams of a project
decide.py     one endpoint as it stands: route, look up, derive, predict
record.py     the recorder that answers only when decisions are durable
live.py       versions and experiments behind the endpoints, swapped while they serve
updates.py    the feature updaters of the process
server.py     the HTTP face: `app(...)` and `run(...)`
backend.py    what the HTTP face needs, and its limits
meter.py      counters and histograms as Prometheus text
"""
