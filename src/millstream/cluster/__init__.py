"""`millstream cluster`: existing engines on one machine, configured and supervised for development and tests.

cluster.py        `Cluster`: up, down, kill, restart, status
bring.py          how services are brought up, and waited for
process.py        daemons known by pid and birth; nothing left behind
state.py          what is remembered between commands
fetch.py          jars, virtual environments, packages of the system
service.py        what a service is made of
catalogue.py      the services there are; each has a file
ask.py, jvm.py    questions as a client puts them; small JVMs
"""

from __future__ import annotations

from millstream.cluster.cluster import PORT, Cluster, Status

__all__ = ["PORT", "Cluster", "Status"]
