"""The networks that are measured: each function takes the engine's module and returns a network of that engine."""
