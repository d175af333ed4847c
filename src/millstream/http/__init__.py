"""What every HTTP door of Millstream shares: the shape of replies and errors, bodies with a limit, tokens, addresses,
the server process.

wire.py     JSON replies, the one shape of an error, bodies with a limit, gzip
access.py   tokens, and which hosts may be served without one
address.py  whether a port is free, and which setting to change
server.py   uvicorn, started and announced
"""
