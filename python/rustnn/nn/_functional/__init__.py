"""Functions of ``rustnn.nn.functional`` that are compositions of tensor operations.

One family per file. ``functional.py`` takes the engine's own function of a name
where there is one, and these otherwise.
"""
