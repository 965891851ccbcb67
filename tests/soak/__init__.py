"""Minutes of work under random kills; `__main__` runs it, `workers` are its processes."""
