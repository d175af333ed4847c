"""The state port: documents and leases, what Millstream must remember next to the data.

port.py      what a state engine promises
contract.py  the suite that every state engine passes
"""
