"""What every public edge refuses, by area: where -> (what is wrong, which exception, what its message says).

``test_errors.py`` goes through the lists.
"""
