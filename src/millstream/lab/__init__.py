"""Tests of a user's project: the fixture `lab`, and the proof that a training set does not look into the future.

lab.py     the fixture
world.py   fresh engines below one folder, a clock that the test moves, stubs for models
leaks.py   `assert_no_leak`: random worlds, equal up to a moment and different after it
chance.py  random events of a stream's class
"""
