"""The local disk and this machine.

files.py         as the lake's files: a folder whose files survive a power cut once they are synced
sink.py          as the sink port: the sink of this process
orchestrator.py  as the orchestrator: `millstream run` in a process of its own
"""
